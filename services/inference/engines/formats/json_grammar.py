r"""JSON Schemas and tool calls as grammars that constrain a model's output.

llama.cpp's own conversion of schemas leaves out what it cannot express (`\d` in a
pattern, bounds of numbers) and accepts anything there. So the grammar is llguidance's,
which llama.cpp is built with. What it cannot hold it says beforehand; where llama.cpp
generates without it all the same, as it does with some that grow too large, the answer
is refused.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from services.inference.engines.base import InvalidRequestError, Sampling
from services.inference.engines.formats.schema_size import MOST_COUNTED, MOST_ITEMS, counted_items
from services.inference.engines.formats.tools import CALL_BEGINS, CALL_ENDS, WantedTools, wanted_tools

_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write JSON: small models fill free white space with blank lines."""
_COMBINED = ("allOf", "anyOf", "oneOf", "not", "if", "$ref", "dependentSchemas", "patternProperties")
_NARROWING = frozenset({"items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf"})
_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties"})
_LARGEST = 10**15
_RANGE = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "const"})
_FIXED = frozenset({"maxLength", "pattern", "format", "enum", "const"})
_FORMATS = frozenset(["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"])
"""Formats that llama.cpp's llguidance holds text to; with `uri` it grows too large."""
_BYTES = LLTokenizer("byte")
_FREE_TEXT = rf"TEXT: /(.|\n)*/ & ~/(.|\n)*{CALL_BEGINS}(.|\n)*/"


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer must look like; `tools` may be called in it, `param` asked for it."""

    grammar: str
    param: str
    tools: WantedTools | None = None


def wanted_constraint(
    sampling: Sampling, *, several_calls: bool = True, longest: int | None = None
) -> Constraint | None:
    """The grammar that a request asks for, not compiled yet; None for plain text.

    `several_calls`: see `wanted_tools`. `longest`: so many characters and items at most
    in JSON where its schema sets no bound.

    Raises:
        InvalidRequestError: there is no schema where there must be one, it has too many
            items, or the tools are none.
    """
    schema = wanted_schema(sampling.response_format)
    tools = wanted_tools(sampling, several=several_calls)
    functions = tools.callable if tools else ()
    given = [*([schema] if schema is not None else []), *(one.schema for one in functions)]
    _require_few_items(given, "tools" if tools else "response_format")
    if schema is not None:
        schema = _bounded(schema, longest)
    if tools is not None:
        return Constraint(_tools_grammar(tools, schema, longest), "tools", tools)
    if schema is not None:
        return Constraint(f"%llguidance {{}}\nstart: {_json(schema)}", "response_format")
    return None


def _require_few_items(schemas: Iterable[Mapping[str, Any]], param: str) -> None:
    """Refuses what llama.cpp, unlike the package that compiles it first, counts at
    length.
    """
    if sum(map(counted_items, schemas)) > MOST_COUNTED:
        raise refusal(
            f"arrays and objects have bounds above {MOST_ITEMS} items, or {MOST_COUNTED} in all; lower the "
            "bounds",
            param,
        )


class GrammarCheck:
    """Holds generated text against its grammar."""

    def __init__(self, constraint: Constraint) -> None:
        self._param = constraint.param
        self._matcher = _compiled(constraint.grammar).deep_copy()

    def follow(self, text: str) -> None:
        """Takes the next text.

        Raises:
            InvalidRequestError: it is not of the grammar, so llama.cpp did not apply it.
        """
        encoded = list(text.encode())
        if self._matcher.try_consume_tokens(encoded) < len(encoded):
            raise refusal("it is too large to be applied; simplify it", self._param)


@lru_cache(maxsize=1)
def _compiled(grammar: str) -> LLMatcher:
    """Compiled once for all choices of a request."""
    return LLMatcher(_BYTES, grammar, log_level=0)


def wanted_schema(response_format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The JSON Schema that an answer shall have; None for plain text.

    Raises:
        InvalidRequestError: there is none where there must be one.
    """
    if not response_format or response_format.get("type") == "text":
        return None
    if response_format.get("type") == "json_object":
        schema = response_format.get("schema") or _ANY_OBJECT
    else:
        schema = (response_format.get("json_schema") or {}).get("schema")
    if not isinstance(schema, Mapping):
        raise InvalidRequestError(
            f"response_format.json_schema.schema is {schema!r}: give a JSON Schema object",
            param="response_format",
        )
    return schema


def _tools_grammar(tools: WantedTools, text_schema: Mapping[str, Any] | None, longest: int | None) -> str:
    """Text (or JSON of `text_schema`), or text and calls, or calls alone."""
    calls = f'call ("\\n{CALL_BEGINS}" call){{0,{tools.most - 1}}}' if tools.most > 1 else "call"
    lines = ["%llguidance {}"]
    if tools.must or text_schema is not None:
        text = "" if tools.must else " | text"
        lines += [f'start: "{CALL_BEGINS}" {calls}{text}']
        lines += [f"text: {_json(text_schema)}"] if text and text_schema is not None else []
    else:
        lines += [f"start: TEXT | lead {calls}", f'lead[suffix="{CALL_BEGINS}"]: /(.|\\n)*/', _FREE_TEXT]
    names = [f"function{number}" for number in range(len(tools.callable))]
    lines.append(f'call: "\\n" ({" | ".join(names)}) "\\n{CALL_ENDS}"')
    for name, function in zip(names, tools.callable, strict=True):
        begin = json.dumps(f'{{"name": {json.dumps(function.name)}, "arguments": ')
        lines.append(f'{name}: {begin} {name}_arguments "}}"')
        schema = _closed(_as_object(function.schema))
        lines.append(f"{name}_arguments: {_json(_bounded(schema, longest))}")
    return "\n".join(lines)


def _as_object(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments are an object, whatever else their schema says or leaves out."""
    return schema if any(key in schema for key in ("type", *_COMBINED)) else {"type": "object", **schema}


def _closed(schema: Any) -> Any:
    """The schema without further properties where it names some: a small model would
    invent them without end. What it lets through, the given one does too.
    """
    if not isinstance(schema, Mapping) or any(key in schema for key in _COMBINED):
        return schema
    closed = dict(schema)
    if isinstance(schema.get("properties"), Mapping):
        closed["properties"] = {name: _closed(one) for name, one in schema["properties"].items()}
        closed.setdefault("additionalProperties", False)
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    return closed


def _bounded(schema: Any, longest: int | None) -> Any:
    """The schema with a bound on every string, array and integer that has none: a small
    model goes on without end. What it lets through, the given one does too, but for
    formats, which are annotations where no grammar has them.
    """
    if isinstance(schema, list):
        return [_bounded(one, longest) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    bounded = {name: value for name, value in schema.items() if not _is_passed_over(name, value)}
    for key in _NARROWING & schema.keys():
        bounded[key] = _bounded(schema[key], longest)
    for key in _NAMED & schema.keys():
        if isinstance(schema[key], Mapping):
            bounded[key] = {name: _bounded(one, longest) for name, one in schema[key].items()}
    return bounded if longest is None else bounded | _bounds_of(bounded, longest)


def _is_passed_over(name: str, value: Any) -> bool:
    """What a grammar need not hold: a bound that no answer reaches, a format without a
    grammar.
    """
    if name in {"maxItems", "maxProperties"}:
        return isinstance(value, int | float) and value > MOST_ITEMS
    return name == "format" and isinstance(value, str) and value not in _FORMATS


def _bounds_of(schema: Mapping[str, Any], longest: int) -> dict[str, int]:
    bounds: dict[str, int] = {}
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "string" in kinds and not _FIXED & schema.keys():
        bounds["maxLength"] = max(longest, schema.get("minLength", 0))
    if "integer" in kinds and not _RANGE & schema.keys():
        bounds |= {"minimum": -_LARGEST, "maximum": _LARGEST}
    if "array" in kinds and "maxItems" not in schema:
        bounds["maxItems"] = max(longest, schema.get("minItems", 0))
    return bounds


def _json(schema: Mapping[str, Any]) -> str:
    return f"%json {json.dumps({**schema, 'x-guidance': _COMPACT})}"


def refusal(why: str, param: str) -> InvalidRequestError:
    """What is said of a schema that no grammar holds."""
    return InvalidRequestError(f"the model's grammar cannot hold this schema: {why}", param=param)
