"""What `edgequake-llm models` does: list the models that providers have, with their context and prices."""

from __future__ import annotations

import asyncio

from edgequake_llm._exceptions import ConfigurationError
from edgequake_llm._table import NOTHING, dollars, lines
from edgequake_llm.catalog import ModelCatalog
from edgequake_llm.directory import ModelDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgequake_llm._exceptions import LLMError
    from edgequake_llm.directory import ListedModel
    from edgequake_llm.providers import Provider

COLUMNS = ("provider", "model", "context", "max output", "in / M tokens", "out / M tokens")


def listed(
    providers: Iterable[Provider], search: str | None, *, limit: int | None
) -> tuple[list[ListedModel], dict[str, LLMError], str | None]:
    """Return the models, the errors by provider, and a note for the reader where there are no prices."""
    catalog: ModelCatalog | None = ModelCatalog()
    note = None
    try:
        ModelCatalog().find("gpt-4o-mini", "openai")
    except ConfigurationError as error:
        catalog, note = None, error.message
    directory = ModelDirectory(providers, catalog=catalog)
    if search is None:
        models = asyncio.run(directory.models())
        models = sorted(models, key=lambda model: (model.provider, model.id))[:limit]
    else:
        models = asyncio.run(directory.search(search, limit=limit or 1_000_000))
    return models, directory.errors, note


def table(models: Sequence[ListedModel]) -> list[str]:
    """Return the lines of the table."""
    return lines([COLUMNS, *map(_row, models)], words=2)


def _row(model: ListedModel) -> tuple[str, ...]:
    prices = model.prices
    return (
        model.provider,
        f"{model.id} (deprecated)" if model.deprecated else model.id,
        NOTHING if model.context_window is None else f"{model.context_window:,}",
        NOTHING if model.max_output_tokens is None else f"{model.max_output_tokens:,}",
        NOTHING if prices is None else dollars(prices.input),
        NOTHING if prices is None else dollars(prices.output),
    )
