"""How large a grammar a JSON Schema makes: whoever compiles it holds up everybody else.

A schema of 150 bytes can take seconds and a gigabyte: what counts is how often its parts
are written out. Measured with llguidance within llama.cpp: a part takes about 20 us.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any

MOST_PARTS = 20_000
"""About 0.4 s of compiling, on one core."""
MOST_ITEMS = 10_000
"""No answer has more items: a bound above it is none, one below it is refused."""
_PARTS_A_SCHEMA = 10
_ITEMS_A_PART = 10
_MOST_DEPTH = 100
_LEAST = ("minItems", "minProperties", "minContains")
_MOST = ("maxItems", "maxProperties", "maxContains")
_COUNT = re.compile(r"\{(\d{1,9})(?:,(\d{0,9}))?\}")


def parts_of(schema: Any) -> int:
    """About how many parts a schema's grammar is written out in; counting ends soon
    after `MOST_PARTS`.
    """
    parts = 0
    for one in _nested(schema, 0):
        parts += one
        if parts > MOST_PARTS:
            break
    return parts


def repetitions(pattern: str) -> int:
    """How many characters or classes a regular expression has, written out: `(ab{3}){2}`
    has eight. Of an unbounded repetition the least counts.
    """
    groups, last, at = [0], 0, 0
    while at < len(pattern):
        char, count = pattern[at], _COUNT.match(pattern, at)
        if count is not None:
            times = int(count[2] or count[1])
            groups[-1] += last * (max(times, 1) - 1)
            last, at = last * max(times, 1), count.end()
            continue
        if char == "(":
            groups.append(0)
        elif char == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        elif char not in "|*+?":
            at = _end_of_class(pattern, at) if char == "[" else at + (char == "\\")
            last = 1
            groups[-1] += 1
        at += 1
    return sum(groups)


def _nested(schema: Any, depth: int) -> Iterator[int]:
    """The parts of a schema and of all within it; so deep a one counts as too many."""
    if depth > _MOST_DEPTH:
        yield MOST_PARTS + 1
    if isinstance(schema, list):
        for one in schema:
            yield from _nested(one, depth + 1) if isinstance(one, Mapping | list) else (1,)
    if not isinstance(schema, Mapping):
        return
    yield _PARTS_A_SCHEMA
    yield from map(_times, (schema.get(bound) for bound in _LEAST), repeat(MOST_PARTS + 1))
    yield from map(_times, (schema.get(bound) for bound in _MOST), repeat(0))
    if isinstance(pattern := schema.get("pattern"), str):
        yield repetitions(pattern)
    for value in schema.values():
        if isinstance(value, Mapping | list):
            yield from _nested(value, depth + 1)


def _times(bound: Any, beyond: int) -> int:
    """The parts of an array or object that a grammar repeats so often; `beyond` where no
    answer holds as much.
    """
    if not isinstance(bound, int | float) or not bound > 0:
        return 0
    return beyond if bound > MOST_ITEMS else int(bound) // _ITEMS_A_PART


def _end_of_class(pattern: str, at: int) -> int:
    """Where a class of characters that begins here ends."""
    at += 1
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at
