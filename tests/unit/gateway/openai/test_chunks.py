"""OpenAI's chunks and answers from a stream's steps."""

from typing import Any

import orjson

from schemas.inference import Delivered, End, ErrorDetail, Outcome, Piece, Usage
from services.common.requests.request_ids import RequestKind, new_request_id
from services.gateway.openai.chunks import ChunkWriter
from services.gateway.openai.whole_response import WholeResponse
from services.gateway.streams.state import Step, new_stream

LOGPROB = {
    "token": "a",
    "logprob": -0.5,
    "bytes": [97],
    "top_logprobs": [{"token": "b", "logprob": -1.0, "bytes": [98]}],
}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
MORE = {"index": 0, "function": {"arguments": '{"x":'}}
REST = {"index": 0, "function": {"arguments": "1}"}}


def step(*pieces: Piece, end: End | None = None) -> Step:
    """A step that delivers."""
    return Step(new_stream(1, max_attempts=5), pieces, end)


def render(kind: RequestKind, *steps: Step, include_usage: bool = False) -> list[Any]:
    """The data of every block; [DONE] as itself."""
    writer = ChunkWriter(
        new_request_id(kind, time_ms=1_700_000_000_123, random_bits=1), kind, "m", include_usage
    )
    return [
        payload if payload == b"[DONE]" else orjson.loads(payload)
        for one in steps
        for payload in writer.payloads(one.pieces, one.end)
    ]


def test_role_comes_once_a_choice_whichever_attempt_it_is() -> None:
    """The first piece of each choice is preceded by its role, later ones are not."""
    chunks = render(
        "chat", step(Piece(index=1, text="a")), step(Piece(index=1, text="b"), Piece(index=0, text="c"))
    )
    assert [(one["choices"][0]["index"], one["choices"][0]["delta"]) for one in chunks] == [
        (1, {"role": "assistant", "content": ""}),
        (1, {"content": "a"}),
        (1, {"content": "b"}),
        (0, {"role": "assistant", "content": ""}),
        (0, {"content": "c"}),
    ]
    assert {one["created"] for one in chunks} == {1_700_000_000}


def test_logprobs_and_tool_calls_travel_in_their_own_fields() -> None:
    """Chat chunks carry log-probabilities beside the content, and parts of tool calls
    as they come.
    """
    chunks = render(
        "chat",
        step(Piece(text="a", logprobs=(LOGPROB,)), Piece(tool_calls=(CALL,), finish_reason="tool_calls")),
    )
    assert chunks[1]["choices"][0]["logprobs"] == {"content": [LOGPROB], "refusal": None}
    assert chunks[2]["choices"][0]["delta"] == {"tool_calls": [CALL]}
    assert chunks[3]["choices"][0]["finish_reason"] == "tool_calls"


def test_each_chunk_has_parts_of_one_call() -> None:
    """Those of a call that came together are one part: LlamaIndex reads no second."""
    first = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"x": 1}'}}
    other = {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    chunks = render("chat", step(Piece(tool_calls=(first, more, other, {"index": 1, "function": {}}))))
    parts = [one["choices"][0]["delta"].get("tool_calls") for one in chunks[1:]]
    assert parts == [
        [{**first, "function": {"name": "f", "arguments": '{"x": 1}'}}],
        [{**other, "function": {"name": "g", "arguments": "{}"}}],
    ]


def test_text_completion_chunk_has_text_and_old_logprobs() -> None:
    """The older API says the same in its own words."""
    (chunk,) = render("completion", step(Piece(text="a", finish_reason="length", logprobs=(LOGPROB,))))
    choice = chunk["choices"][0]
    assert (chunk["object"], choice["text"], choice["finish_reason"]) == ("text_completion", "a", "length")
    assert choice["logprobs"] == {
        "tokens": ["a"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"b": -1.0}],
        "text_offset": [0],
    }


def test_end_gives_usage_if_asked_then_done() -> None:
    """The usage chunk has no choices and precedes [DONE]."""
    end = End(outcome=Outcome.COMPLETED, usage=Usage(prompt_tokens=1, completion_tokens=2, cached_tokens=1))
    usage, done = render("chat", step(end=end), include_usage=True)
    assert (usage["choices"], usage["usage"]["total_tokens"], usage["usage"]["prompt_tokens_details"]) == (
        [],
        3,
        {"cached_tokens": 1},
    )
    assert done == b"[DONE]"
    assert render("chat", step(end=end)) == [b"[DONE]"]


def test_end_by_failure_gives_its_error_and_no_done() -> None:
    """A cut is never clean."""
    detail = ErrorDetail(status=400, code="too_long", message="m", param="messages")
    (error,) = render("chat", step(end=End(outcome=Outcome.FAILED, error=detail)))
    assert error == {
        "error": {"message": "m", "type": "invalid_request_error", "param": "messages", "code": "too_long"}
    }


def test_whole_answer_joins_text_and_tool_calls() -> None:
    """Parts of a tool call become one call; content is null where there is nothing but
    calls.
    """
    answer = WholeResponse(
        new_request_id("chat", time_ms=0, random_bits=0), kind="chat", model="m", choices=1
    )
    answer.add([Piece(tool_calls=(CALL, MORE)), Piece(tool_calls=(REST,), finish_reason="tool_calls")])
    choice = answer.body(Usage())["choices"][0]
    assert choice["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    ]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")


def test_whole_answer_of_a_text_completion() -> None:
    """The older API's answer, with log-probabilities over all pieces."""
    answer = WholeResponse(
        new_request_id("completion", time_ms=0, random_bits=0), kind="completion", model="m", choices=2
    )
    answer.add(
        [
            Piece(text="a", logprobs=(LOGPROB,)),
            Piece(index=1, text="x"),
            Piece(text="b", logprobs=(LOGPROB,), finish_reason="stop"),
        ]
    )
    first, second = answer.body(Usage())["choices"]
    assert (first["text"], first["logprobs"]["tokens"], second["text"]) == ("ab", ["a", "a"], "x")
    assert answer.text == "ab"


def test_delivered_is_what_the_pieces_made() -> None:
    """The default of a choice is nothing."""
    assert new_stream(2, max_attempts=1).choices == (Delivered(), Delivered())


def test_text_offsets_count_characters_over_all_chunks_and_per_choice() -> None:
    """Where each token begins in its choice's whole text, streamed as in one piece."""
    tokens = [{**LOGPROB, "token": text} for text in ("é", " ab", "c")]
    pieces = [
        Piece(text="é ab", logprobs=tuple(tokens[:2])),
        Piece(index=1, text="c", logprobs=(tokens[2],)),
        Piece(text="c", logprobs=(tokens[2],), finish_reason="stop"),
    ]
    streamed = [
        chunk["choices"][0]["logprobs"]["text_offset"] for chunk in render("completion", step(*pieces))
    ]
    whole = WholeResponse(
        new_request_id("completion", time_ms=0, random_bits=0), kind="completion", model="m", choices=2
    )
    whole.add(pieces)
    assert streamed == [[0, 1], [0], [4]]
    assert [one["logprobs"]["text_offset"] for one in whole.body(Usage())["choices"]] == [[0, 1, 4], [0]]
