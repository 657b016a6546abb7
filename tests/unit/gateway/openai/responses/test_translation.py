"""A response's body becomes a chat's, or is refused by the name of what is not served."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from schemas.inference import Delivered
from services.common.http.problems import Problem, ProblemError, malformed
from services.gateway.openai.requests import ChatBody
from services.gateway.openai.responses.body import ResponsesBody
from services.gateway.openai.responses.references import referenced_item, referenced_request
from services.gateway.openai.responses.translation import chat_body_of, in_the_clients_words

SUFFIX = "0197f3a0b1c27abc8def0123456789ab"
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "id": "fc_1", "status": "x"}


def chat_of(**fields: Any) -> ChatBody:
    """The chat that a body is."""
    body = ResponsesBody(**{"model": "m", "input": "hi", **fields})
    return chat_body_of(body, body.input)


def test_text_input_with_instructions_is_two_messages() -> None:
    """What the SDKs send by default is tolerated."""
    chat = chat_of(
        instructions="Be brief.",
        store=True,
        truncation="disabled",
        include=["reasoning.encrypted_content"],
        reasoning={"effort": None},
        max_output_tokens=7,
        user="u",
        service_tier="flex",
        metadata={"a": "b"},
        background=False,
    )
    assert chat.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]
    assert (chat.max_completion_tokens, chat.user, chat.service_tier) == (7, "u", "flex")
    assert chat.model_extra == {}


def test_items_become_messages_and_calls_in_a_row_one() -> None:
    """Roles, parts, calls and their outputs; an easy message needs no type."""
    chat = chat_of(
        input=[
            {"role": "developer", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "message", "role": "user", "content": "b"},
            {
                "type": "message",
                "role": "assistant",
                "id": "msg_1",
                "content": [
                    {"type": "output_text", "text": "c", "annotations": []},
                    {"type": "refusal", "refusal": "d"},
                ],
            },
            CALL,
            {**CALL, "call_id": "c2"},
            {"type": "function_call_output", "call_id": "c1", "output": "1"},
            {
                "type": "function_call_output",
                "call_id": "c2",
                "output": [{"type": "input_text", "text": "2"}],
            },
            CALL,
        ]
    )
    roles = [message["role"] for message in chat.messages]
    assert roles == ["developer", "user", "assistant", "tool", "tool", "assistant"]
    assert chat.messages[2]["content"] == "cd"
    assert [call["id"] for call in chat.messages[2]["tool_calls"] or ()] == ["c1", "c2"]
    assert (chat.messages[4]["tool_call_id"], chat.messages[4]["content"]) == ("c2", "2")


def _choice(chat: ChatBody) -> Any:
    return TypeAdapter(Any).dump_python(chat.tool_choice)


def test_tools_choice_and_format_are_translated() -> None:
    """Flat functions become nested ones; a schema keeps its name and strictness."""
    function = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    chat = chat_of(
        tools=[function],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        include=["message.output_text.logprobs"],
        top_logprobs=2,
    )
    nested = {"name": "f", "parameters": {"type": "object"}, "strict": True}
    assert chat.tools == [{"type": "function", "function": nested}]
    assert _choice(chat) == {"type": "function", "function": {"name": "f"}}
    assert chat.response_format is not None
    assert chat.response_format.json_schema == {"name": "n", "schema": {"type": "object"}, "strict": True}
    assert (chat.logprobs, chat.top_logprobs) == (True, 2)
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}
    assert _choice(chat_of(tools=[function], tool_choice=allowed)) == {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "required",
            "tools": [{"type": "function", "function": {"name": "f"}}],
        },
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"max_tool_calls": 1}, "max_tool_calls"),
        ({"truncation": "auto"}, "truncation"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"text": {"verbosity": "low"}}, "text"),
        ({"text": {"format": {"type": "grammar"}}}, "text"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input"),
        ({"input": [{"role": "user"}]}, "input"),
        ({"input": [{"role": {"a": 1}, "content": "x"}]}, "input"),
        ({"input": [{"role": ["user"], "content": "x"}]}, "input"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input"),
    ],
)
def test_what_is_not_served_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    """400 with the client's own name of the field."""
    with pytest.raises(ProblemError) as raised:
        chat_of(**fields)
    assert (raised.value.problem.status, raised.value.problem.param) == (400, param)


def test_problems_of_the_chat_are_told_in_the_clients_words() -> None:
    """The field that the client sent is named, not the chat's."""
    told = in_the_clients_words(malformed("max_completion_tokens is 9.", "max_completion_tokens"))
    assert (told.problem.param, told.problem.message) == ("max_output_tokens", "max_output_tokens is 9.")
    other = malformed("model", "model")
    assert in_the_clients_words(other) is other


@pytest.mark.parametrize("param", ["messages", "temperature"])
def test_problems_of_the_chat_keep_what_else_they_tell(param: str) -> None:
    """Each wrong field, by the client's name for it; headers, and the request."""
    wrong = (("messages.3.content", "is empty"), ("temperature", "is 9"), ("max_tokens", "is -1"))
    error = ProblemError(Problem(400, "invalid_value", f"{param}: no.", param, (("a", "b"),), wrong))
    error.request_id = "r1"
    told = in_the_clients_words(error)
    assert (told.problem.headers, told.problem.errors, told.request_id) == (
        (("a", "b"),),
        (("input.3.content", "is empty"), ("temperature", "is 9"), ("max_output_tokens", "is -1")),
        "r1",
    )
    name = "input" if param == "messages" else param
    assert (told.problem.param, told.problem.message) == (name, f"{name}: no.")


def test_references_name_their_request_and_find_their_item() -> None:
    """Text and calls of an answer; anything else is not known."""
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answer = (Delivered(text="hello", tool_calls=(call,)),)

    def reference(item_id: object) -> dict[str, Any]:
        return {"type": "item_reference", "id": item_id}

    assert referenced_request(reference(f"msg_{SUFFIX}")) == f"chatcmpl-{SUFFIX}"
    assert referenced_item(reference(f"msg_{SUFFIX}"), answer) == {
        "type": "message",
        "role": "assistant",
        "content": "hello",
    }
    assert referenced_item(reference(f"fc_{SUFFIX}_0"), answer) == {
        "type": "function_call",
        "call_id": "c",
        "name": "f",
        "arguments": "{}",
    }
    assert referenced_item(reference(f"fc_{SUFFIX}_1"), answer) is None
    assert referenced_item(reference(f"msg_{SUFFIX}"), ()) is None
    for strange in ("rs_1", f"msg_{SUFFIX}x", None, 7, f"msg_{SUFFIX}/../x"):
        assert referenced_request(reference(strange)) is None
    assert referenced_request({"type": "message", "id": f"msg_{SUFFIX}"}) is None
