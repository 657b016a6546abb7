"""What is wrong with a body, in a sentence that names the field's own rule."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from schemas.errors import ErrorCode
from services.common.errors.value_rules import rule_of, shown
from services.common.http.problems import ProblemError, malformed

_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\x00")
_MOST_PROBLEMS = 100


def problem_of(error: ValidationError, body: bytes, model: type[BaseModel]) -> ProblemError:
    """The 400 for a body that is no `model`."""
    if error.error_count() > _MOST_PROBLEMS:  # each costs some microseconds and a kilobyte to tell
        return malformed(
            f"The body has {error.error_count()} values that are not as they must be; /docs shows how.",
            code=ErrorCode.INVALID_VALUE,
        )
    found = error.errors(include_url=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return _not_json(str(found[0]["msg"]), body)
    first = found[0]["loc"][:1]
    given = _given(body)
    same = [(_place(one, given), one) for one in found if one["loc"][:1] == first]
    deepest = max(len(place) for place, _ in same)
    wrong = [(place, one) for place, one in same if len(place) == deepest]
    wrong = [pair for pair in wrong if not _is_of_type(pair[1])] or wrong
    place, one = wrong[0]
    rules = list(dict.fromkeys(rule_of(other, model) for where, other in wrong if where == place))
    rule = ", or ".join([rules[0], *(text.removeprefix("use ") for text in rules[1:])])
    code = ErrorCode.MISSING_PARAMETER if one["type"] == "missing" else ErrorCode.INVALID_VALUE
    text = f"{'.'.join(map(str, place)) or 'The body'}: {rule}{shown(one)}."
    problem = malformed(text, str(first[0]) if first else None, code).problem
    return ProblemError(replace(problem, errors=_by_field(found, given, model)))


def _by_field(found: Sequence[Any], given: Any, model: type[BaseModel]) -> tuple[tuple[str, str], ...]:
    """Every wrong field with the first thing that is wrong with it; not the object or
    list that it is in, which only follows.
    """
    fields: dict[str, str] = {}
    for one in found:
        place = _place(one, given) or one["loc"]
        fields.setdefault(".".join(map(str, place)), rule_of(one, model))
    inner = [name for name in fields if not any(other.startswith(f"{name}.") for other in fields)]
    return tuple((name, fields[name]) for name in inner)


def refuse_constants(body: bytes) -> None:
    """Passes where NaN and Infinity only stand in strings.

    Raises:
        ProblemError: 400, a number is none.
    """
    if b"NaN" not in body and b"Infinity" not in body:
        return

    def refuse(name: str) -> None:
        raise malformed(
            f"The body has the number {name}, which JSON does not know; send a finite number or null.",
            code=ErrorCode.INVALID_JSON,
        )

    json.loads(body, parse_constant=refuse, parse_int=len, parse_float=len)


def not_utf8(why: str) -> ProblemError:
    """400: the body is in another encoding."""
    return malformed(f"{why}; send the body as UTF-8.", code=ErrorCode.INVALID_ENCODING)


def _not_json(why: str, body: bytes) -> ProblemError:
    if body.startswith(_BOMS) or body[1:2] == b"\x00":
        return not_utf8("The body looks like UTF-16 or UTF-32")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return not_utf8(f"The body's byte {error.start} ({body[error.start]:#04x}) is not UTF-8")
    return malformed(f"The body is not JSON that can be read: {why}.", code=ErrorCode.INVALID_JSON)


def _given(body: bytes) -> Any:
    try:
        return json.loads(body, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return None


def _place(problem: Any, given: Any) -> tuple[int | str, ...]:
    """Where a problem is, without the names that pydantic gives to a union's members."""
    place: list[int | str] = []
    path: Sequence[int | str] = problem["loc"]
    for number, part in enumerate(path):
        is_last = number == len(path) - 1
        if isinstance(given, list) and isinstance(part, int) and part < len(given):
            given = given[part]
        elif isinstance(given, dict) and part in given:
            given = given[str(part)]
        elif not (is_last and problem["type"] == "missing"):
            continue
        place.append(part)
    return tuple(place)


def _is_of_type(problem: Any) -> bool:
    """Whether a value is of a wrong type, where another member of a union may fit."""
    kind: str = problem["type"]
    return kind.endswith(("_type", "_parsing")) or kind == "literal_error"
