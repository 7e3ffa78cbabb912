"""Tables for the command line: columns as wide as their longest cell, words to the left and figures to the right."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

NOTHING = "-"
"""What stands in a cell where nothing is known."""


def lines(rows: Sequence[Sequence[str]], *, words: int) -> list[str]:
    """Return the lines of a table, whose first `words` columns are words."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if n < words else text.rjust(width)
            for n, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def dollars(amount: Decimal) -> str:
    """Write an amount exactly, without trailing zeros."""
    return f"${amount.normalize():f}"
