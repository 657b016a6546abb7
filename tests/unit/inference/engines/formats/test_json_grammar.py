"""JSON Schemas as llama.cpp's grammars: what can be held is, what cannot is refused."""

import json
from typing import Any

import pytest

from services.inference.engines.base import InvalidRequestError, Sampling
from services.inference.engines.formats.json_grammar import GrammarCheck, wanted_constraint


def of_schema(schema: Any) -> dict[str, Any]:
    """A response_format that asks for a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^(?=a)b$"},
        {"type": "string", "pattern": "^(a$"},
        {"type": "string", "format": "zork"},
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
        wanted_constraint(Sampling(response_format=of_schema(schema)))
    assert raised.value.param == "response_format"


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
