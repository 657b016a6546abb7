"""A response's events are what the SDK's own types take, and agree with its whole."""

from datetime import UTC, datetime
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from schemas.inference import End, ErrorDetail, InferenceRequested, Lane, Outcome, Piece, ReplyTo, Usage
from services.common.http.problems import Problem
from services.gateway.openai.responses.body import ResponsesBody
from services.gateway.openai.responses.writer import ResponseWriter

SUFFIX = "0197f3a0b1c27abc8def0123456789ab"
NOW = datetime(2026, 11, 27, tzinfo=UTC)
REQUEST = InferenceRequested(
    request_id=f"chatcmpl-{SUFFIX}",
    kind="chat",
    model="m",
    lane=Lane.INTERACTIVE,
    tenant="t",
    key_id="k",
    reply_to=ReplyTo(partition=0, gateway_id="g"),
    requested_at=NOW,
    deadline=NOW,
)
DONE = End(outcome=Outcome.COMPLETED, usage=Usage(prompt_tokens=3, completion_tokens=4, cached_tokens=1))
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
LOGPROB = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


def begins(index: int, call_id: str, name: str) -> dict[str, Any]:
    """A call's first part."""
    return {
        "index": index,
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }


def goes_on(index: int, arguments: str) -> dict[str, Any]:
    """A call's further part."""
    return {"index": index, "function": {"arguments": arguments}}


def play(*steps: tuple[tuple[Piece, ...], End | None], **fields: Any) -> list[dict[str, Any]]:
    """All events of a response, checked against the SDK's types."""
    writer = ResponseWriter(REQUEST, ResponsesBody(**{"model": "m", "input": "hi", **fields}))
    events = list(writer.opening())
    for pieces, end in steps:
        events += writer.events(pieces, end)
    for event in events:
        EVENT.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def test_text_is_one_message_told_from_its_beginning_to_its_end() -> None:
    """The order that the SDKs accumulate by."""
    events = play(
        ((Piece(text="Hel", logprobs=(LOGPROB,)),), None),
        ((Piece(text="lo"), Piece(finish_reason="stop")), DONE),
        metadata={"a": "b"},
        instructions="i",
    )
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    response = Response.model_validate(events[-1]["response"])
    assert (response.output_text, response.status, response.id) == ("Hello", "completed", f"resp_{SUFFIX}")
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 4)
    assert response.usage.input_tokens_details.cached_tokens == 1
    assert (response.metadata, response.instructions) == ({"a": "b"}, "i")
    assert events[-1]["response"]["store"] is False


def test_calls_are_items_of_their_own_behind_the_text() -> None:
    """Text, then two calls: three items, their arguments in pieces and whole."""
    events = play(
        ((Piece(text="I look."), Piece(tool_calls=(begins(0, "a", "f"), goes_on(0, '{"x":')))), None),
        ((Piece(tool_calls=(goes_on(0, "1}"), begins(1, "b", "g"), goes_on(1, "{}"))),), None),
        ((Piece(finish_reason="tool_calls"),), DONE),
    )
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    assert [(item["call_id"], item["name"], item["arguments"]) for item in output[1:]] == [
        ("a", "f", '{"x":1}'),
        ("b", "g", "{}"),
    ]
    assert [item["id"] for item in output] == [f"msg_{SUFFIX}", f"fc_{SUFFIX}_0", f"fc_{SUFFIX}_1"]
    deltas = [event["delta"] for event in events if event["type"].endswith("arguments.delta")]
    assert deltas == ['{"x":', "1}", "{}"]
    added = [event["output_index"] for event in events if event["type"].endswith("item.added")]
    assert added == [0, 1, 2]


@pytest.mark.parametrize(
    ("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_answer_that_was_cut_is_incomplete(reason: str, told: str) -> None:
    """Its last item too, and why."""
    events = play(((Piece(text="Hel"), Piece(finish_reason=reason)), DONE))
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": told}
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"


def test_empty_answer_has_one_empty_message() -> None:
    """Clients look for one."""
    events = play(((Piece(finish_reason="stop"),), DONE))
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ""


def test_failure_is_told_twice_and_never_as_a_completion() -> None:
    """As the response's state, and as an error at which the SDKs raise."""
    error = ErrorDetail(status=503, code="engine_failed", message="gone")
    failed = End(outcome=Outcome.FAILED, error=error)
    events = play(((Piece(text="Hel"),), None), ((), failed))
    assert [event["type"] for event in events[-2:]] == ["response.failed", "error"]
    assert events[-1]["error"]["message"] == events[-2]["response"]["error"]["message"] == "gone"
    writer = ResponseWriter(REQUEST, ResponsesBody(model="m", input="hi"))
    list(writer.opening())
    assert [event["type"] for event in writer.failure(Problem(503, "x", "y"))][-1] == "error"
