"""Rows under heads, and values, as people read them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Lines of cells under their heads, each column as wide as its widest cell; nothing
    where there are no rows. All rows have the same heads.
    """
    if not rows:
        return []
    lines = [[head.upper() for head in rows[0]], *([cell or "-" for cell in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def minute(moment: str | None) -> str:
    """A time of ISO 8601 to the minute, in UTC; empty where there is none."""
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%MZ}" if moment else ""


def words(value: Any) -> str:
    """A value as people write it: no brackets, nothing where there is none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(f"{name}={words(one)}" for name, one in value.items() if one is not None)
    if isinstance(value, list):
        return ("; " if any(isinstance(one, dict) for one in value) else ",").join(map(words, value))
    return "" if value is None else str(value)
