"""Pieces as one answer."""

from schemas.inference import Piece, Usage
from services.common.requests.request_ids import new_request_id
from services.gateway.openai.whole_response import WholeResponse

REQUEST_ID = new_request_id("chat", time_ms=1_700_000_000_123, random_bits=1)


def test_pieces_of_several_choices_are_sorted_out() -> None:
    """However they come in between each other."""
    answer = WholeResponse(REQUEST_ID, kind="chat", model="m", choices=2)
    answer.add([Piece(index=1, text="a"), Piece(index=0, text="b")])
    answer.add([Piece(index=1, text="c", finish_reason="stop"), Piece(index=0, finish_reason="length")])
    body = answer.body(Usage(prompt_tokens=2, completion_tokens=3))
    assert [(one["message"]["content"], one["finish_reason"]) for one in body["choices"]] == [
        ("b", "length"),
        ("ac", "stop"),
    ]
    assert body["usage"]["total_tokens"] == 5
    assert (body["object"], body["created"]) == ("chat.completion", 1_700_000_000)


def test_parts_of_tool_calls_are_joined_by_their_index() -> None:
    """The first part brings id and name, all bring arguments; no text is null."""
    answer = WholeResponse(REQUEST_ID, kind="chat", model="m", choices=1)
    for part in (
        {"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}},
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}},
        {"index": 0, "function": {"arguments": ":1}"}},
    ):
        answer.add([Piece(tool_calls=(part,))])
    message = answer.body(Usage())["choices"][0]["message"]
    assert [(call["id"], call["function"]) for call in message["tool_calls"]] == [
        ("a", {"name": "f", "arguments": '{"x":1}'}),
        ("b", {"name": "g", "arguments": ""}),
    ]
    assert message["content"] is None


def test_text_completion_has_its_own_form() -> None:
    """`text` instead of a message."""
    answer = WholeResponse(REQUEST_ID, kind="completion", model="m", choices=1)
    answer.add([Piece(text="x", finish_reason="stop")])
    body = answer.body(Usage())
    assert (body["object"], body["choices"][0]["text"]) == ("text_completion", "x")
