"""Between the bus's messages and the engines' own types."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import orjson

from schemas.inference import InferenceRequested, Piece
from services.inference.engines import base


def for_engine(request: InferenceRequested) -> base.GenerationRequest:
    """A request as engines take it."""
    wanted = request.sampling
    sampling = base.Sampling(
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        max_tokens=wanted.max_tokens,
        stop=wanted.stop,
        seed=wanted.seed,
        presence_penalty=wanted.presence_penalty or 0.0,
        frequency_penalty=wanted.frequency_penalty or 0.0,
        logit_bias=wanted.logit_bias or {},
        n=wanted.n,
        logprobs=wanted.logprobs,
        top_logprobs=wanted.top_logprobs,
        response_format=wanted.response_format,
        tools=wanted.tools,
        tool_choice=wanted.tool_choice,
        parallel_tool_calls=wanted.parallel_tool_calls,
        top_k=wanted.top_k,
        min_p=wanted.min_p,
        repetition_penalty=wanted.repetition_penalty,
    )
    return base.GenerationRequest(
        request_id=request.request_id,
        tenant=request.tenant,
        kind=request.kind,
        messages=request.messages,
        prompt=request.prompt,
        sampling=sampling,
        delivered=tuple(one.text for one in request.delivered),
        delivered_tokens=tuple(one.tokens for one in request.delivered),
        delivered_finish=tuple(
            cast("base.FinishReason | None", one.finish_reason) for one in request.delivered
        ),
        delivered_calls=tuple(tuple(map(_delivered_call, one.tool_calls)) for one in request.delivered),
    )


def to_message(piece: base.Piece) -> Piece:
    """A piece as it travels."""
    return Piece(
        index=piece.index,
        text=piece.text,
        tokens=piece.tokens,
        finish_reason=piece.finish_reason,
        logprobs=tuple(_logprob(token) for token in piece.logprobs) if piece.logprobs is not None else None,
        tool_calls=tuple(_tool_call(call) for call in piece.tool_calls) or None,
    )


def _logprob(token: base.TokenLogprob) -> dict[str, object]:
    top = [{"token": text, "logprob": value, "bytes": list(text.encode())} for text, value in token.top]
    return {
        "token": token.token,
        "logprob": token.logprob,
        "bytes": list(token.token.encode()),
        "top_logprobs": top,
    }


def _delivered_call(call: Mapping[str, Any]) -> base.ToolCall:
    function = call["function"]
    return base.ToolCall(
        index=call["index"], id=call["id"], name=function["name"], arguments=function["arguments"]
    )


def _tool_call(call: base.ToolCall) -> dict[str, object]:
    function = {"arguments": call.arguments} | ({"name": call.name} if call.name else {})
    return {"index": call.index, "function": function} | (
        {"id": call.id, "type": "function"} if call.id else {}
    )


def json_bytes(text: str) -> int:
    """What a text takes in a message."""
    return len(orjson.dumps(text)) - 2


_CALL_BYTES = 100
"""What a tool call takes in a message beside its arguments."""


def tool_call_bytes(piece: base.Piece) -> int:
    """What the parts of calls in a piece add to the whole answer's message."""
    return sum(
        json_bytes(call.arguments) + (_CALL_BYTES + len(call.name) if call.name else 0)
        for call in piece.tool_calls
    )


def piece_bytes(piece: Piece) -> int:
    """What a piece takes in a message, roughly where it is text alone."""
    if piece.logprobs is None and piece.tool_calls is None:
        return 6 * len(piece.text) + 100
    return len(piece.encode())


def encodable(piece: base.Piece) -> base.Piece:
    """The piece without halves of surrogate pairs, which no JSON can carry."""
    if piece.tool_calls:
        piece = replace(piece, tool_calls=tuple(map(_encodable_call, piece.tool_calls)))
    if piece.text.isascii():
        return piece
    text = _encodable_text(piece.text)
    return piece if text == piece.text else replace(piece, text=text)


def _encodable_call(call: base.ToolCall) -> base.ToolCall:
    return replace(
        call,
        id=call.id and _encodable_text(call.id),
        name=call.name and _encodable_text(call.name),
        arguments=_encodable_text(call.arguments),
    )


def _encodable_text(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode()
