"""Tools with the real SmolLM2: what is demanded is always called with valid arguments."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator

from services.inference.engines import create_engine
from services.inference.engines.base import Engine, ToolCall
from tests.support.inference.smollm2 import Answer, answer, chat, smollm2

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 30},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "unit", "days"],
}
ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
TOOLS = (
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather", "parameters": WEATHER},
    },
    {"type": "function", "function": {"name": "add", "description": "Add two numbers", "parameters": ADD}},
)
SCHEMAS: dict[str | None, Any] = {"get_weather": WEATHER, "add": ADD}
QUESTION = ({"role": "user", "content": "What is the weather in Paris?"},)
NAMED = {"type": "function", "function": {"name": "add"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    """One loaded model for all tests."""
    engine = create_engine(smollm2(context_length=1024))
    await engine.start()
    yield engine
    await engine.close()


def calls_of(result: Answer) -> list[ToolCall]:
    """Each call with its arguments in one."""
    calls: dict[int, ToolCall] = {}
    for part in (part for piece in result.pieces for part in piece.tool_calls):
        have = calls.get(part.index)
        calls[part.index] = replace(have, arguments=have.arguments + part.arguments) if have else part
    return list(calls.values())


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
async def test_llamacpp_demanded_call_has_valid_arguments(
    engine: Engine, choice: Any, temperature: float
) -> None:
    """However hot it samples: a function that may be called, arguments by its schema."""
    request = chat(QUESTION, tools=TOOLS, tool_choice=choice, temperature=temperature, seed=3, max_tokens=120)
    result = await answer(engine, request)
    (call,) = calls_of(result)
    assert call.name in (["add"] if choice is NAMED else ["get_weather", "add"])
    Draft202012Validator(SCHEMAS[call.name]).validate(json.loads(call.arguments))
    assert result.reasons == {0: "tool_calls"}
    assert result.texts == {0: ""}
    assert result.usage is not None
    assert result.usage.completion_tokens == result.tokens[0]


async def test_llamacpp_none_and_auto_may_answer_with_text(engine: Engine) -> None:
    """`none` shows no tool; with `auto` whatever comes is text or valid calls; a result
    in the history is read.
    """
    without = await answer(engine, chat(QUESTION))
    none = await answer(engine, chat(QUESTION, tools=TOOLS, tool_choice="none"))
    assert none.texts == without.texts
    history = (
        *QUESTION,
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "c", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "sunny, 31 degrees"},
    )
    told = await answer(engine, chat(history, tools=TOOLS, max_tokens=40))
    assert told.texts[0] or calls_of(told)
    for call in calls_of(told):
        Draft202012Validator(SCHEMAS[call.name]).validate(json.loads(call.arguments))


async def test_llamacpp_call_goes_on_where_its_replica_died(engine: Engine) -> None:
    """Generated again with the same seed, what was delivered is left out."""
    request = chat(QUESTION, tools=TOOLS, tool_choice="required", parallel_tool_calls=True, max_tokens=90)
    whole = await answer(engine, request)
    head = Answer(pieces=whole.pieces[:12])
    tokens = sum(piece.tokens for piece in head.pieces)
    rest = replace(
        request, delivered=("",), delivered_tokens=(tokens,), delivered_calls=(tuple(calls_of(head)),)
    )
    after = await answer(engine, rest)
    assert calls_of(Answer(pieces=head.pieces + after.pieces)) == calls_of(whole)
    assert after.pieces[0].tool_calls[0] == ToolCall(0, arguments=after.pieces[0].tool_calls[0].arguments)
