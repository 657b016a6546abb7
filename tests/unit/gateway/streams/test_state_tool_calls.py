"""Tool calls over failovers: no part comes twice, none is lost, none is garbled."""

from typing import Any

from schemas.errors import ErrorCode
from schemas.inference import Delivered, End, LogPosition, Outcome, Piece, ReplyChunk, ReplyEnded, RetryNeeded
from services.common.requests.tool_calls import join_tool_calls
from services.gateway.streams.state import advance, new_stream

FIRST: dict[str, Any] = {
    "index": 0,
    "id": "c",
    "type": "function",
    "function": {"name": "f", "arguments": ""},
}
MORE: dict[str, Any] = {"index": 0, "function": {"arguments": '{"a":'}}
REST: dict[str, Any] = {"index": 0, "function": {"arguments": " 1}"}}
WHOLE = join_tool_calls((), [FIRST, MORE, REST])


def chunk(seq: int, *parts: dict[str, Any], attempt: int = 1) -> ReplyChunk:
    """A chunk with parts of calls."""
    return ReplyChunk(
        request_id="r",
        tenant="t",
        attempt=attempt,
        replica_id=f"a{attempt}",
        seq=seq,
        pieces=(Piece(tokens=len(parts), tool_calls=parts),),
    )


def ended(calls: Any) -> ReplyEnded:
    """The dispatcher's end with the whole answer."""
    choice = Delivered(tokens=9, finish_reason="tool_calls", tool_calls=calls)
    return ReplyEnded(
        request_id="r", tenant="t", attempt=1, end=End(outcome=Outcome.COMPLETED), choices=(choice,)
    )


def test_delivered_after_a_death_holds_what_the_client_has_of_each_call() -> None:
    """The next attempt is told of the call's beginning, and its parts join it."""
    state = new_stream(1, max_attempts=3)
    for reply in (chunk(0, FIRST), chunk(1, MORE)):
        state = advance(state, reply).state
    origin = LogPosition(topic="t", partition=0, offset=1)
    died = advance(state, RetryNeeded(request_id="r", tenant="t", attempt=1, reason="x", origin=origin))
    assert died.retry
    assert died.state.choices[0].tool_calls == join_tool_calls((), [FIRST, MORE])
    after = advance(died.state, chunk(0, REST, attempt=2)).state
    assert after.choices[0].tool_calls == WHOLE


def test_whole_answer_gives_the_rest_of_a_call_once() -> None:
    """The request had completed: the client lacks the arguments' end only."""
    state = new_stream(1, max_attempts=3)
    for reply in (chunk(0, FIRST), chunk(1, MORE)):
        state = advance(state, reply).state
    step = advance(state, ended(WHOLE))
    assert step.pieces[0].tool_calls == (REST,)
    assert step.pieces[0].finish_reason == "tool_calls"
    assert step.state.choices[0].tool_calls == WHOLE


def test_whole_answer_with_another_call_is_an_error() -> None:
    """What was delivered cannot be taken back."""
    state = advance(new_stream(1, max_attempts=3), chunk(0, FIRST, MORE)).state
    step = advance(state, ended(join_tool_calls((), [{**FIRST, "id": "d"}, MORE, REST])))
    assert step.end is not None
    assert step.end.error is not None
    assert step.end.error.code == ErrorCode.ANSWER_CHANGED
