"""How many items a JSON Schema has a grammar count one by one."""

from collections.abc import Iterator, Mapping
from typing import Any

MOST_ITEMS = 10_000
"""No answer has more items: a bound above it is none, one below it is refused."""
MOST_COUNTED = 500_000
"""Of all bounds together: llama.cpp's llguidance takes .6 us and 300 bytes for each. The
Python package, which compiles first, takes nothing, so it is counted.
"""
_LEAST = frozenset({"minItems", "minProperties", "minContains"})
_MOST = frozenset({"maxItems", "maxProperties", "maxContains"})


def counted_items(schema: Any) -> float:
    """The sum of all bounds on items; infinite where no answer reaches one."""
    return sum(_counted(schema))


def _counted(schema: Any) -> Iterator[float]:
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            for name, value in one.items():
                if name in _LEAST | _MOST and isinstance(value, int | float):
                    yield _cost(value, name)
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)


def _cost(bound: float, name: str) -> float:
    if bound > MOST_ITEMS:
        return float("inf") if name in _LEAST else 0
    return max(bound, 0)
