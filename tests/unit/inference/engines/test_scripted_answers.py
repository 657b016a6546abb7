"""The scripted engine's tools, schemas and set texts, and their continuation."""

import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from services.common.requests.model_catalogue import ModelConfig
from services.inference.engines import create_engine
from services.inference.engines.base import (
    ContinuationError,
    GenerationRequest,
    InvalidRequestError,
    Piece,
    Sampling,
    ToolCall,
)
from services.inference.engines.scripted_answers import instance_of

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = (
    {"type": "function", "function": {"name": "weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "now"}},
)


def asked(text: str, **sampling: Any) -> GenerationRequest:
    """A chat request."""
    return GenerationRequest(
        "chatcmpl-r", "chat", messages=({"role": "user", "content": text},), sampling=Sampling(**sampling)
    )


async def played(request: GenerationRequest) -> list[Piece]:
    """The pieces of one generation, token by token."""
    options = {"tokens_per_piece": 1}
    engine = create_engine(ModelConfig(name="s", engine="scripted", options=options, context_length=1000))
    return [item async for item in engine.generate(request) if isinstance(item, Piece)]


def joined(pieces: list[Piece]) -> tuple[str, list[ToolCall]]:
    """The text, and each call with its arguments in one."""
    calls: dict[int, ToolCall] = {}
    for part in (part for piece in pieces for part in piece.tool_calls):
        have = calls.get(part.index)
        calls[part.index] = replace(have, arguments=have.arguments + part.arguments) if have else part
    return "".join(piece.text for piece in pieces), list(calls.values())


async def test_scripted_calls_the_tools_that_a_message_names() -> None:
    """With its arguments, or the simplest; one after a tool's result is words."""
    pieces = await played(asked('Call weather({"city": "Zürich"}) and now', tools=TOOLS))
    text, calls = joined(pieces)
    assert text == ""
    assert [(call.name, call.arguments) for call in calls] == [
        ("weather", '{"city": "Zürich"}'),
        ("now", "{}"),
    ]
    assert len({call.id for call in calls}) == 2
    assert pieces[-1].finish_reason == "tool_calls"
    result = {"role": "tool", "tool_call_id": "c", "content": "weather"}
    again = asked("weather", tools=TOOLS)
    text, calls = joined(await played(replace(again, messages=(*again.messages, result))))
    assert text
    assert not calls


async def test_scripted_honours_tool_choice() -> None:
    """Required and named call; none and an unnamed tool do not; an unknown one is 400."""
    named = {"type": "function", "function": {"name": "now"}}
    for choice, names in (("required", ["weather"]), (named, ["now"]), ("none", []), ("auto", [])):
        _, calls = joined(await played(asked("hello", tools=TOOLS, tool_choice=choice)))
        assert [call.name for call in calls] == names
    with pytest.raises(InvalidRequestError):
        await played(asked("hello", tools=TOOLS, tool_choice={"type": "function", "function": {"name": "x"}}))


@pytest.mark.parametrize("at", range(1, 12))
async def test_scripted_call_continues_where_it_was_cut(at: int) -> None:
    """What one attempt gave and the next's rest are the undisturbed call."""
    request = asked('weather({"city": "a b c d e f g h"}) now', tools=TOOLS)
    whole = await played(request)
    head = whole[:at]
    text, calls = joined(head)
    rest = replace(
        request,
        delivered=(text,),
        delivered_tokens=(sum(piece.tokens for piece in head),),
        delivered_calls=(tuple(calls),),
    )
    assert joined(head + await played(rest)) == joined(whole)
    other = replace(rest, delivered_calls=((replace(calls[0], name="zork"),),))
    with pytest.raises(ContinuationError):
        await played(other)


async def test_scripted_answers_schemas_and_set_texts() -> None:
    """JSON that is valid, and any text asked for, cut by max_tokens."""
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 3},
            "kind": {"enum": ["x", "y"]},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        },
        "required": ["n", "kind", "tags", "maybe"],
        "$defs": {"tag": {"type": "string", "minLength": 7}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    text, _ = joined(await played(asked("go", response_format=wanted)))
    Draft202012Validator(schema).validate(json.loads(text))
    assert instance_of({"type": "boolean"}) is True
    said = "Grüße, 世界 🌍!  Two  spaces"
    assert joined(await played(asked(f"Say: {said}")))[0] == said
    cut = await played(asked("Say: one two three", max_tokens=2))
    assert (joined(cut)[0], cut[-1].finish_reason) == ("one two", "length")
