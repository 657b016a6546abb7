"""JSON Schemas as llama.cpp's grammars: what can be held is, what cannot is refused."""

import json
from typing import Any

import pytest

from services.inference.engines.base import InvalidRequestError, Sampling
from services.inference.engines.formats.json_grammar import GrammarCheck, wanted_constraint
from tests.unit.inference.engines.formats import held


def of_schema(schema: Any) -> dict[str, Any]:
    """A response_format that asks for a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^(?=a)b$"},
        {"type": "string", "pattern": "^(a$"},
        {"type": "string", "minLength": 5, "maxLength": 2},
        {"type": "array", "uniqueItems": True},
        {"type": "array", "contains": {"type": "string"}},
        {"type": "foo"},
        {"not": {"type": "string"}},
        {"$ref": "#/nowhere"},
        {"$ref": "http://example.org/schema"},
        {"enum": []},
        "not a schema",
        None,
    ],
)
def test_wanted_constraint_of_a_schema_that_cannot_be_held_is_refused_by_name(schema: Any) -> None:
    """One 400 that names response_format, before anything is generated."""
    with pytest.raises(InvalidRequestError) as raised:
        held(Sampling(response_format=of_schema(schema)))
    assert raised.value.param == "response_format"


MANY_ITEMS = [
    {"type": "array", "items": {"type": "string"}, "minItems": 10_000_017},
    {"type": "object", "minProperties": 1e9},
    {"type": "array", "minItems": float("inf")},
    {"type": "array", "prefixItems": [{"type": "array", "maxItems": 9_000}] * 60},
]
ORDINARY = [
    {"type": "number", "multipleOf": 0.01},
    {"type": "integer", "multipleOf": 86_400},
    {"type": "number", "multipleOf": 5_000_000},
    {"allOf": [{"type": "integer", "multipleOf": 7}, {"multipleOf": 1_000}]},
    {"type": "object", "properties": {f"p{number}": {"multipleOf": 12} for number in range(300)}},
    {"type": "object", "properties": {f"p{number}": {} for number in range(900)}, "required": ["p1", "p2"]},
    {"type": "object", "patternProperties": {f"^x-{number}$": {} for number in range(9)}},
    {"const": {"description": "x" * 900}, "description": "y" * 900_000},
    {"type": "object", "properties": {"const": {"type": "string"}, "enum": {}, "multipleOf": {}}},
]


@pytest.mark.parametrize("schema", MANY_ITEMS)
@pytest.mark.parametrize("as_tool", [False, True])
def test_schema_of_too_many_items_is_refused_uncompiled(schema: dict[str, Any], *, as_tool: bool) -> None:
    """Wherever in the schema they are: only llama.cpp would take long over them."""
    nested = {"type": "object", "properties": {"x": {"items": schema}}}
    sampling = (
        Sampling(tools=[{"type": "function", "function": {"name": "f", "parameters": nested}}])
        if as_tool
        else Sampling(response_format=of_schema(nested))
    )
    with pytest.raises(InvalidRequestError, match="lower the bounds") as raised:
        wanted_constraint(sampling)
    assert raised.value.param == ("tools" if as_tool else "response_format")


@pytest.mark.parametrize("schema", ORDINARY)
def test_schema_of_ordinary_size_is_held(schema: dict[str, Any]) -> None:
    """What people write is not taken for large: money, days, wide objects, long remarks."""
    assert held(Sampling(response_format=of_schema(schema))) is not None


@pytest.mark.parametrize(
    ("schema", "good"),
    [
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 10**9}, [1, 2]),
        ({"type": "string", "format": "uri", "maxLength": 2083}, "https://example.org/x"),
        ({"type": "string", "format": "binary"}, "xx"),
        ({"type": "string", "format": "zork"}, "xx"),
        ({"type": "object", "properties": {"format": {"type": "integer"}}}, {"format": 3}),
        ({"anyOf": [{"type": "string", "format": "ipv4network"}, {"type": "null"}]}, "10.0.0.0/8"),
        ({"type": "string", "pattern": "^(ab{3}){20}$"}, "abbb" * 20),
    ],
)
def test_bounds_that_no_answer_reaches_and_unknown_formats_are_passed_over(schema: Any, good: Any) -> None:
    """Formats are annotations; a property that is called so is none."""
    grammar = wanted_constraint(Sampling(response_format=of_schema(schema)))
    assert grammar is not None
    assert not {"zork", "uri", "binary", "ipv4network"} & set(grammar.grammar.split('"'))
    GrammarCheck(grammar).follow(json.dumps(good))


@pytest.mark.parametrize(
    ("format_", "good", "bad"),
    [
        ("date", "2026-11-27", "27/11/2026"),
        ("date-time", "2026-11-27T10:00:00Z", "2026-11-27"),
        ("email", "ann@example.org", "ann"),
        ("uuid", "12345678-1234-1234-1234-123456789abc", "1234"),
        ("ipv4", "10.0.0.1", "10.0"),
    ],
)
def test_formats_with_a_grammar_are_held(format_: str, good: str, bad: str) -> None:
    """Those that pydantic writes for dates, addresses and ids."""
    grammar = wanted_constraint(Sampling(response_format=of_schema({"type": "string", "format": format_})))
    assert grammar is not None
    GrammarCheck(grammar).follow(json.dumps(good))
    with pytest.raises(InvalidRequestError):
        GrammarCheck(grammar).follow(json.dumps(bad) + "}")


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "pattern": "^[a-z]{2}\\d+$"}, "ab12", "abc"),
        ({"type": "integer", "minimum": 3, "maximum": 7}, 5, 9),
        ({"type": "number", "exclusiveMinimum": 0.5, "maximum": 1}, 0.75, 0.25),
        ({"type": "string", "minLength": 2, "maxLength": 3}, "abc", "abcd"),
        ({"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}, {"a": "x"}, {"b": 1}),
    ],
)
def test_wanted_constraint_holds_patterns_and_bounds(schema: Any, good: Any, bad: Any) -> None:
    """What llama.cpp's own conversion leaves out is part of the grammar."""
    grammar = wanted_constraint(Sampling(response_format=of_schema(schema)))
    assert grammar is not None
    GrammarCheck(grammar).follow(json.dumps(good))
    with pytest.raises(InvalidRequestError, match="too large"):
        GrammarCheck(grammar).follow(json.dumps(bad) + "}")


@pytest.mark.parametrize(
    ("response_format", "text"),
    [
        ({"type": "json_object"}, '{"any": [1, null]}'),
        ({"type": "json_object", "schema": {"type": "object", "required": ["a"]}}, '{"a": 1}'),
    ],
)
def test_wanted_constraint_of_a_json_object_takes_objects_only(
    response_format: dict[str, Any], text: str
) -> None:
    """With a schema of its own or without."""
    grammar = wanted_constraint(Sampling(response_format=response_format))
    assert grammar is not None
    GrammarCheck(grammar).follow(text)
    with pytest.raises(InvalidRequestError):
        GrammarCheck(grammar).follow("I'm")


@pytest.mark.parametrize("response_format", [None, {}, {"type": "text"}])
def test_wanted_constraint_of_plain_text_is_none(response_format: dict[str, Any] | None) -> None:
    """Nothing is constrained where nothing is asked."""
    assert wanted_constraint(Sampling(response_format=response_format)) is None
