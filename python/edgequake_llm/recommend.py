"""`recommend_model`: which model for which task, and why. The table is data: judge it, or bring one's own."""

from __future__ import annotations

from edgequake_llm._exceptions import InvalidRequestError
from edgequake_llm._value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Recommendation(Value):
    """A `model` of a `provider` for a `task`, and the `reason`.

    `also` are other names of the task; `instead_of` is the model named first, since retired.
    """

    task: str
    provider: str
    model: str
    reason: str
    also: tuple[str, ...] = ()
    instead_of: str | None = None


TASKS: tuple[Recommendation, ...] = (
    Recommendation(
        "simple extraction",
        "openai",
        "gpt-4o-mini",
        "10x cheaper than full GPT-4o",
        also=("extraction",),
    ),
    Recommendation(
        "complex reasoning",
        "anthropic",
        "claude-opus-4-5",
        "Best quality",
        also=("reasoning",),
        instead_of="claude-3-opus",  # retired 2026-01-05; the same line of models
    ),
    Recommendation(
        "high volume",
        "ollama",
        "llama3.2",
        "Free after setup: it runs on one's own machine",
        also=("local",),
    ),
    Recommendation("classification", "openai", "gpt-3.5-turbo", "Fast and cheap"),
)
"""The guide's table of models by task."""


def recommend_model(task: str, *, table: Sequence[Recommendation] = TASKS) -> Recommendation:
    """Return the model that the table has for a task.

    The guide's tasks are simple extraction, complex reasoning, high volume and classification. Raises
    `InvalidRequestError` for another task, naming those that there are.
    """
    wanted = " ".join(task.lower().replace("_", " ").replace("-", " ").split())
    for entry in table:
        if wanted in {entry.task, *entry.also}:
            return entry
    tasks = ", ".join(entry.task for entry in table)
    raise InvalidRequestError(f"there is no recommendation for {task!r}; there is one for {tasks}", param="task")
