"""How large a grammar a JSON Schema makes: whoever compiles it holds up everybody else.

A schema of 150 bytes can take seconds and a gigabyte: what counts is how often its parts
are written out. Measured with llguidance within llama.cpp: a part takes about 20 us.
"""

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import repeat
from typing import Any

MOST_PARTS = 20_000
"""About 0.4 s of compiling, on one core."""
MOST_ITEMS = 10_000
"""No answer has more items: a bound above it is none, one below it is refused."""
_PARTS_A_SCHEMA = 10
_PARTS_A_NAME = 10
"""Of a property; all names are held against each other, which costs most."""
_PARTS_A_NAME_PATTERN = 200
_ITEMS_A_PART = 10
_CHARS_A_PART = 10
_MOST_CHARS = 40_000
"""Of one text: beyond that each step costs more than the last."""
_MOST_DEPTH = 100
_LEAST = ("minItems", "minProperties", "minContains")
_MOST = ("maxItems", "maxProperties", "maxContains")
_TABLES = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_JOINS = frozenset({"allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "patternProperties"})
"""With these a value may have to be a multiple of several numbers at once."""
_COUNT = re.compile(r"\{\s*([0-9]+)\s*(?:,\s*([0-9]*)\s*)?\}")
_FREE_SPACING = re.compile(r"\(\?[A-Za-z-]*x")
"""Blanks and comments may then stand within a count."""


def parts_of(schema: Any) -> int:
    """About how many parts a schema's grammar is written out in; counting ends soon
    after `MOST_PARTS`.
    """
    parts = 0
    multiples = _Multiples()
    for one in _nested(schema, 0, multiples):
        parts += one
        if parts > MOST_PARTS:
            return parts
    return parts + multiples.parts


def repetitions(pattern: str) -> int:
    """How many characters or classes a regular expression has, written out: `(ab{3}){2}`
    has eight. Of an unbounded repetition the least counts.
    """
    if _FREE_SPACING.search(pattern):
        return MOST_PARTS + 1
    groups, last, at = [0], 0, 0
    while at < len(pattern):
        char, count = pattern[at], _COUNT.match(pattern, at)
        if count is not None:
            times = max(_number(count[2] or count[1]), 1)
            groups[-1] += last * (times - 1)
            last, at = last * times, count.end()
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


class _Multiples:
    """The numbers of a schema of which values must be multiples. A grammar has a part for
    each remainder; where one value may be bound by several, of their product.
    """

    def __init__(self) -> None:
        self._remainders: list[int] = []
        self._joined = False

    def note(self, schema: Mapping[str, Any]) -> None:
        """Takes a schema's own number."""
        self._joined = self._joined or not _JOINS.isdisjoint(schema)
        value = schema.get("multipleOf")
        if isinstance(value, int | float) and value > 0:
            self._remainders.append(_remainders(value))

    @property
    def parts(self) -> int:
        """The parts of all; no more than say that they are too many."""
        most = MOST_PARTS + 1
        each = max(self._remainders, default=0)
        if self._joined:
            each = 1 if self._remainders else 0
            for one in set(self._remainders):
                each = min(math.lcm(each, one), most)
            return min(each * len(self._remainders), most)
        return min(sum(self._remainders), most)


def _nested(schema: Any, depth: int, multiples: _Multiples) -> Iterator[int]:
    """The parts of a schema and of all within it; so deep a one counts as too many."""
    if depth > _MOST_DEPTH:
        yield MOST_PARTS + 1
    elif isinstance(schema, list):
        for one in schema:
            yield from _nested(one, depth + 1, multiples)
    elif isinstance(schema, Mapping):
        yield from _of_schema(schema, depth + 1, multiples)
    else:
        yield 1


def _of_schema(schema: Mapping[str, Any], depth: int, multiples: _Multiples) -> Iterator[int]:
    yield _PARTS_A_SCHEMA
    yield from _of_keywords(schema)
    multiples.note(schema)
    for name, value in schema.items():
        if name in {"const", "enum"}:
            yield from _of_value(value, depth)
        elif name in _TABLES and isinstance(value, Mapping):
            yield from _of_table(value, depth, multiples, by_pattern=name == "patternProperties")
        elif isinstance(value, Mapping | list):
            yield from _nested(value, depth, multiples)


def _of_keywords(schema: Mapping[str, Any]) -> Iterator[int]:
    """The parts that a schema's own bounds make."""
    yield from map(_times, (schema.get(bound) for bound in _LEAST), repeat(MOST_PARTS + 1))
    yield from map(_times, (schema.get(bound) for bound in _MOST), repeat(0))
    if isinstance(pattern := schema.get("pattern"), str):
        yield repetitions(pattern)
    if isinstance(required := schema.get("required"), list):
        properties = schema.get("properties")
        known = properties if isinstance(properties, Mapping) else {}
        yield from (_PARTS_A_NAME for name in required if isinstance(name, str) and name not in known)


def _of_table(
    table: Mapping[str, Any], depth: int, multiples: _Multiples, *, by_pattern: bool
) -> Iterator[int]:
    """The parts of schemas by their names, or by patterns of names. `true` is one, too."""
    for name, one in table.items():
        if by_pattern:
            yield _PARTS_A_NAME_PATTERN + repetitions(name)
        if isinstance(one, Mapping):
            yield from _nested(one, depth + 1, multiples)
        else:
            yield _PARTS_A_NAME


def _of_value(value: Any, depth: int) -> Iterator[int]:
    """The parts of a value that an answer shall have to the letter."""
    if depth > _MOST_DEPTH:
        yield MOST_PARTS + 1
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield _PARTS_A_NAME + len(name) // _CHARS_A_PART
            yield from _of_value(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            yield from _of_value(one, depth + 1)
    elif isinstance(value, str) and len(value) > _MOST_CHARS:
        yield MOST_PARTS + 1
    else:
        yield 1 + (len(value) // _CHARS_A_PART if isinstance(value, str) else 0)


def _remainders(value: float) -> int:
    """How many remainders there are on the way to a multiple, digit by digit: tens cost
    nothing.
    """
    try:
        digits = Decimal(repr(value)).normalize().as_tuple().digits
    except ArithmeticError:
        return MOST_PARTS + 1
    return min(int("".join(map(str, digits[:20]))), MOST_PARTS + 1)


def _number(digits: str) -> int:
    """A count in a pattern, which may be written with as many digits as it likes."""
    told = digits.lstrip("0") or "0"
    return int(told[:10])


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
