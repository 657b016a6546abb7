"""How many tokens a prompt is expected to have, and has at most."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.inference import InferenceRequested, Sampling
from services.common.requests.prompt_size import expected_tokens, most_tokens
from services.inference.engines.base import Sampling as EngineSampling
from services.inference.engines.formats.chat_messages import text_messages
from services.inference.engines.formats.tools import wanted_tools
from tests.unit.gateway.limits.scene import request

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)
NAMES = st.from_regex(r"\A[a-zA-Z0-9_.-]{1,20}\Z")
FUNCTIONS = st.fixed_dictionaries(
    {"name": NAMES}, optional={"description": st.none() | TEXTS, "parameters": st.none() | OBJECTS}
)
TOOLS = st.lists(
    st.fixed_dictionaries({"function": FUNCTIONS}, optional={"type": st.just("function")}),
    max_size=4,
    unique_by=lambda tool: tool["function"]["name"],
)
ARGUMENTS = (
    TEXTS
    | OBJECTS
    | VALUES.map(lambda value: json.dumps(value, separators=(",", ":")))
    | st.sampled_from(
        ["[1e15,1e15,1e15]", "[" * 50 + "0,0,0" + "]" * 50, '{"a":"\\u0001","b":[],"c":{}}', "["]
    )
)
CALLS = st.lists(
    st.fixed_dictionaries(
        {"function": st.fixed_dictionaries({"name": TEXTS}, optional={"arguments": ARGUMENTS})}
    ),
    max_size=3,
)
CONTENTS = TEXTS | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), max_size=3)
MESSAGES = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["developer", "system", "user", "tool"]), "content": CONTENTS}
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant")}, optional={"content": st.none() | CONTENTS, "tool_calls": CALLS}
    ),
)


def chat(*messages: dict[str, Any], tools: list[dict[str, Any]] | None = None) -> InferenceRequested:
    """A chat with these tools."""
    sampling = Sampling(max_tokens=16, tools=tuple(tools or ()))
    return request(kind="chat", prompt="", messages=messages, sampling=sampling)


def rendered_bytes(asked: InferenceRequested) -> int:
    """The text that an engine makes of a chat, and at the least a byte for each role."""
    tools = wanted_tools(EngineSampling(tools=asked.sampling.tools), several=True)
    messages = text_messages(asked.messages, tools)
    return sum(len(one["content"].encode()) + len(one["role"]) for one in messages)


@given(messages=st.lists(MESSAGES, max_size=4), tools=TOOLS)
def test_prompt_has_no_more_tokens_than_its_bound_whatever_is_in_it(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> None:
    """Tools, calls and results as the engines write them: a token is at least a byte."""
    asked = chat(*messages, tools=tools)
    assert rendered_bytes(asked) <= most_tokens(asked)


@pytest.mark.parametrize(
    "schema",
    [
        {"x": [[[]], [[]]] * 250},
        {"x": {}} | {f"p{n}": {} for n in range(200)},
        {"x": [0, None, True] * 300},
        {},
    ],
)
def test_punctuation_of_tools_counts_however_they_are_nested(schema: dict[str, Any]) -> None:
    """Brackets without a text between them are tokens, too; in a call as in a tool."""
    tool = {"function": {"name": "f", "parameters": schema}}
    call = {"function": {"name": "f", "arguments": json.dumps(schema, separators=(",", ":"))}}
    asked = chat({"role": "assistant", "tool_calls": [call]}, tools=[tool])
    assert 2 * len(json.dumps(schema)) <= rendered_bytes(asked) <= most_tokens(asked)


def test_many_results_of_tools_are_bounded_with_what_is_written_round_them() -> None:
    """Each has a tag before and after it, however short it is."""
    results = [{"role": "tool", "content": "", "tool_call_id": "c"}, {"role": "user", "content": ""}] * 500
    assert rendered_bytes(chat(*results)) <= most_tokens(chat(*results))


def test_prompt_is_expected_by_its_characters_whatever_its_form() -> None:
    """Strings and parts alike; what is no text counts nothing."""
    assert expected_tokens(request(prompt="x" * 400)) == 101
    parts = [{"type": "text", "text": "x" * 200}, {"type": "image_url"}, {"type": "text", "text": None}]
    asked = chat({"role": "user", "content": parts}, {"role": "assistant", "content": None})
    assert expected_tokens(asked) == 50 + 2 * 4 + 1


def test_agents_prompt_is_expected_with_its_tools_and_their_calls() -> None:
    """Token limits reserve for all that the model reads; a quarter of its characters."""
    question = {"role": "user", "content": "hi"}
    parameters = {"type": "object", "properties": {"text": {"type": "string", "description": "y" * 300}}}
    tools = [{"type": "function", "function": {"name": f"f{n}", "parameters": parameters}} for n in range(9)]
    call = {"function": {"name": "f1", "arguments": json.dumps({"text": "z" * 800})}}
    for asked in (chat(question, tools=tools), chat(question, {"role": "assistant", "tool_calls": [call]})):
        rendered = rendered_bytes(asked) / 4
        assert 0.9 * rendered <= expected_tokens(asked) <= 1.2 * rendered
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": parameters}}
    formatted = request(prompt="", sampling=Sampling(response_format=schema))
    assert expected_tokens(formatted) >= 300 // 4
