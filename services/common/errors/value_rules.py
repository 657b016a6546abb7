"""What is wrong with a value, in words that say what to write instead.

pydantic's own words ("Input should be a valid decimal", "Extra inputs are not
permitted") tell neither. One place for settings, commands, bodies and queries.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

_NUMBER = "use a number such as 20.50, with a point before the decimals and nothing else"
_WHOLE = "use a whole number such as 20, and nothing else"
_DAY = "use a day like 2026-12-01"
_TIME = "use a time with its offset, like 2026-12-01T08:00:00Z"
_BY_TYPE: Mapping[str, str] = {
    "missing": "it is required",
    "string_type": "use a string",
    "bool_type": "use true or false",
    "bool_parsing": "use true or false",
    "list_type": "use an array",
    "tuple_type": "use an array",
    "dict_type": "use an object",
    "model_type": "use an object",
    "model_attributes_type": "use an object",
    "finite_number": "use a finite number",
}
_BY_FAMILY: Mapping[str, str] = {
    "decimal": _NUMBER,
    "float": _NUMBER,
    "int": _WHOLE,
    "date": _DAY,
    "datetime": _TIME,
    "timezone": _TIME,
}
"""By the word before the first underscore, where what failed is reading the value."""
_UNREAD = ("_parsing", "_type", "_from_float", "_parsing_size", "_inexact", "_aware", "_object_invalid")
_BOUNDS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})
_PYDANTICS = ("Value error, ", "Input should be ")
_LEFT_OUT = "'', "
"""A parameter that may be left out is empty then, which nobody writes."""
_NAMES = re.compile(r"'\^\((\w+(?:\|\w+)+)\)\$'")
"""A pattern that is a list of names."""
_DECORATION = re.compile(r"[\s€$]")
_FRENCH = re.compile(r"[+-]?\d+,(\d{1,2}|\d{4,})")
"""A comma before three digits may stand for thousands: nobody knows what is meant."""
_SHOWN_CHARS = 40


def rule_of(problem: Mapping[str, Any], model: type[BaseModel] | None = None) -> str:
    """The rule that a value broke, from one of `ValidationError.errors()`. `model` is
    what was read: it knows which fields there are.
    """
    kind, said = str(problem["type"]), str(problem["msg"])
    if kind == "extra_forbidden":
        return _no_such_field(str(problem["loc"][-1]), fields_at(model, problem["loc"][:-1]))
    if kind.endswith(_UNREAD) and (rule := _BY_FAMILY.get(kind.partition("_")[0])):
        return _with_a_point(problem["input"]) or rule if rule is _NUMBER else rule
    if kind == "string_pattern_mismatch" and (names := _NAMES.search(said)):
        return f"use one of {', '.join(names[1].split('|'))}"
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    for words in _PYDANTICS:
        said = said.removeprefix(words)
    if kind in ("literal_error", "enum"):
        return f"use {said.removeprefix(_LEFT_OUT)}"
    return f"use a value {said}" if kind in _BOUNDS else said


def shown(problem: Mapping[str, Any]) -> str:
    """`; it is …` with the value, where that is short and not what is missing."""
    value = problem["input"]
    if problem["type"] == "missing" or isinstance(value, dict | list | tuple):
        return ""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return f"; it is {text}" if len(text) <= _SHOWN_CHARS else ""


def fields_at(model: type[BaseModel] | None, place: Iterable[int | str]) -> tuple[str, ...]:
    """The names of the fields that an object at this place of a model may have."""
    for part in place:
        if model is None:
            break
        info = next((one for name, one in model.model_fields.items() if part in (name, one.alias)), None)
        # Numbers of a list and names of a union's members lead no deeper.
        model = next(_models_in(info.annotation), None) if info else model
    fields = model.model_fields.items() if model else ()
    return tuple(info.alias or name for name, info in fields)


def unknown_field(name: str, known: Iterable[str]) -> str:
    """That there is no such field, which may be meant, and which there are."""
    return _no_such_field(name, tuple(known))


def _no_such_field(name: str, known: tuple[str, ...]) -> str:
    meant = get_close_matches(name, known, 1) if len(name) <= _SHOWN_CHARS else []
    hint = f", {meant[0]} perhaps" if meant else ""
    return (
        f"there is no such field{hint}; there are {', '.join(known)}" if known else "there is no such field"
    )


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _with_a_point(value: object) -> str | None:
    """How a number with a decimal comma is written here; None where none is meant."""
    text = _DECORATION.sub("", value) if isinstance(value, str) else ""
    return f"use a point before the decimals, {text.replace(',', '.')}" if _FRENCH.fullmatch(text) else None
