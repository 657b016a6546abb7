"""Tool calls as upstreams stream them: each recorded shape gives OpenAI's."""

from typing import Any

import orjson
import pytest

from services.inference.engines.base import GenerationRequest
from services.inference.engines.openai_wire import ChunkReader

ASKED = GenerationRequest("chatcmpl-1", "chat", messages=({"role": "user", "content": "Weather?"},))


def fn(name: str | None = None, arguments: Any = None) -> dict[str, Any]:
    """A delta's function."""
    return {"name": name, "arguments": arguments}


SHAPES: dict[str, list[tuple[dict[str, Any], str | None]]] = {
    "openai": [
        (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": fn("w", "")}],
            },
            None,
        ),
        ({"tool_calls": [{"index": 0, "function": {"arguments": '{"c":'}}]}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}, None),
        ({"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": fn("v", "")}]}, None),
        ({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}, None),
        ({}, "tool_calls"),
    ],
    "vllm, name and id repeated": [
        ({"role": "assistant", "content": ""}, None),
        ({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": fn("w")}]}, None),
        ({"tool_calls": [{"index": 0, "id": "a", "function": fn("w", '{"c":')}]}, None),
        ({"tool_calls": [{"index": 0, "id": "a", "function": fn("w", "1}")}]}, None),
        ({"tool_calls": [{"index": 1, "id": "b", "function": fn("v", "{}")}]}, None),
        ({"content": ""}, "stop"),
    ],
    "llama.cpp server": [
        ({"role": "assistant", "content": None}, None),
        (
            {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": fn("w", "{")}]},
            None,
        ),
        ({"tool_calls": [{"index": 0, "function": {"arguments": '"c":1}'}}]}, None),
        ({"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": fn("v", "{}")}]}, None),
        ({}, "tool_calls"),
    ],
    "ollama, whole calls that all have index 0": [
        (
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": fn("w", '{"c":1}')}],
            },
            None,
        ),
        (
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"index": 0, "id": "b", "type": "function", "function": fn("v", "{}")}],
            },
            None,
        ),
        ({"role": "assistant", "content": ""}, "stop"),
    ],
    "mistral, whole calls in one delta without index": [
        (
            {
                "content": "",
                "tool_calls": [
                    {"id": "a", "function": fn("w", '{"c":1}')},
                    {"id": "b", "function": fn("v", "{}")},
                ],
            },
            "tool_calls",
        ),
    ],
    "arguments as an object": [
        ({"tool_calls": [{"id": "a", "function": fn("w", {"c": 1})}]}, None),
        ({"tool_calls": [{"id": "b", "function": fn("v", {})}]}, "stop"),
    ],
    "no ids at all": [
        ({"tool_calls": [{"function": fn("w", '{"c":')}]}, None),
        ({"tool_calls": [{"function": {"arguments": "1}"}}]}, None),
        ({"tool_calls": [{"function": fn("v", "{}")}]}, "tool_calls"),
    ],
    "empty id and name in later parts": [
        ({"tool_calls": [{"index": 0, "id": "a", "function": fn("w", "")}]}, None),
        ({"tool_calls": [{"index": 0, "id": "", "function": fn("", '{"c":1}')}]}, None),
        ({"tool_calls": [{"index": 1, "id": "b", "function": fn("v", "{}")}]}, "tool_calls"),
    ],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_upstream_calls_of_every_shape_give_two_calls(shape: str) -> None:
    """Names and ids come once, with each call's first part; the end says tool_calls."""
    reader = ChunkReader(ASKED)
    pieces = []
    for delta, reason in SHAPES[shape]:
        body = {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        pieces += reader.read(orjson.dumps(body).decode())
    parts = [part for piece in pieces for part in piece.tool_calls]
    for index, (name, arguments) in enumerate([("w", {"c": 1}), ("v", {})]):
        mine = [part for part in parts if part.index == index]
        assert [part.name for part in mine if part.name] == [name]
        assert mine[0].id
        assert all(part.id is None for part in mine[1:])
        assert orjson.loads("".join(part.arguments for part in mine)) == arguments
    assert len({part.id for part in parts if part.id}) == 2
    assert pieces[-1].finish_reason == "tool_calls"
    assert "".join(piece.text for piece in pieces) == ""
    assert reader.complete
