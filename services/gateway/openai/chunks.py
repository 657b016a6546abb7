"""A stream's pieces as the chunks of OpenAI's API, and those as blocks of server-sent
events.

The same steps give the same blocks, at every gateway: a block's place within its
record (`<partition>-<offset>.<chunk>`) is what a client reattaches with.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from schemas.inference import End, Logprob, Piece, Usage
from services.common.http.problems import Problem
from services.common.requests.request_ids import RequestKind, created_of
from services.gateway.problems import problem_of_end

_OBJECTS: dict[RequestKind, str] = {"chat": "chat.completion.chunk", "completion": "text_completion"}
_EVENT_ID = re.compile(r"(\d{1,9})-(\d{1,18})\.(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class EventId:
    """A block's place: partition and offset of the record that it came from, and its
    number within that.
    """

    partition: int
    offset: int
    chunk: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Reads `<partition>-<offset>.<chunk>`; None where it is something else."""
        found = _EVENT_ID.fullmatch(text)
        return cls(int(found[1]), int(found[2]), int(found[3])) if found else None


def frame(payload: bytes, partition: int, offset: int, chunk: int) -> bytes:
    """One block of server-sent events."""
    return b"id: %d-%d.%d\ndata: %b\n\n" % (partition, offset, chunk, payload)


def error_frame(problem: Problem) -> bytes:
    """The block that ends a stream which the log did not end.

    It has no place in the log, so it has no id.
    """
    return unplaced_frame(orjson.dumps(problem.openai_body()))


def unplaced_frame(payload: bytes) -> bytes:
    """A block without an id: no one place in the log stands for it."""
    return b"data: %b\n\n" % payload


def usage_body(usage: Usage) -> dict[str, Any]:
    """Tokens as OpenAI's API counts them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def completion_logprobs(tokens: tuple[Logprob, ...], *, offset: int) -> dict[str, Any]:
    """Log-probabilities in the older form of text completions.

    `offset` is where the first token begins in the choice's text, in characters.
    """
    lengths = (len(one["token"]) for one in tokens)
    return {
        "tokens": [one["token"] for one in tokens],
        "token_logprobs": [one["logprob"] for one in tokens],
        "top_logprobs": [
            {top["token"]: top["logprob"] for top in one.get("top_logprobs", ())} for one in tokens
        ],
        "text_offset": list(itertools.accumulate(lengths, initial=offset))[:-1],
    }


@dataclass
class ChunkWriter:
    """Renders one stream, step by step."""

    request_id: str
    kind: RequestKind
    model: str
    include_usage: bool
    _begun: set[int] = field(default_factory=set)
    _offsets: dict[int, int] = field(default_factory=dict)
    """Per choice the length of the text so far, in characters."""

    def payloads(self, pieces: Iterable[Piece], end: End | None) -> list[bytes]:
        """What a step adds to the stream, in order: each the data of one block."""
        written = [orjson.dumps(body) for piece in pieces for body in self._of_piece(piece)]
        if end is not None:
            written.extend(self._of_end(end))
        return written

    def _of_piece(self, piece: Piece) -> Iterator[dict[str, Any]]:
        if self.kind == "completion":
            offset = self._offsets.get(piece.index, 0)
            self._offsets[piece.index] = offset + len(piece.text)
            logprobs = completion_logprobs(piece.logprobs, offset=offset) if piece.logprobs else None
            yield self._chunk(
                {
                    "index": piece.index,
                    "text": piece.text,
                    "logprobs": logprobs,
                    "finish_reason": piece.finish_reason,
                }
            )
            return
        if piece.index not in self._begun:
            self._begun.add(piece.index)
            yield self._delta(piece.index, {"role": "assistant", "content": ""})
        if piece.text or piece.logprobs:
            yield self._delta(
                piece.index,
                {"content": piece.text},
                logprobs={"content": piece.logprobs, "refusal": None} if piece.logprobs else None,
            )
        for part in _by_call(piece.tool_calls or ()):
            yield self._delta(piece.index, {"tool_calls": [part]})
        if piece.finish_reason:
            yield self._delta(piece.index, {}, finish_reason=piece.finish_reason)

    def _of_end(self, end: End) -> Iterator[bytes]:
        problem = problem_of_end(end)
        if problem is not None:
            yield orjson.dumps(problem.openai_body())
            return
        if self.include_usage:
            yield orjson.dumps(self._chunk(None) | {"usage": usage_body(end.usage)})
        yield b"[DONE]"

    def _delta(
        self, index: int, delta: dict[str, Any], *, logprobs: Any = None, finish_reason: str | None = None
    ) -> dict[str, Any]:
        return self._chunk(
            {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        )

    def _chunk(self, choice: dict[str, Any] | None) -> dict[str, Any]:
        body: dict[str, Any] = {
            "id": self.request_id,
            "object": _OBJECTS[self.kind],
            "created": created_of(self.request_id),
            "model": self.model,
            "choices": [choice] if choice else [],
        }
        if self.include_usage:
            body["usage"] = None
        return body


def _by_call(parts: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Parts of calls, those in a row of one call as one: a chunk has one part, since
    some clients read no other.
    """
    for _, group in itertools.groupby(parts, key=lambda part: part.get("index")):
        first, *rest = group
        function = first.get("function") or {}
        arguments = "".join((part.get("function") or {}).get("arguments") or "" for part in (first, *rest))
        yield first | {"function": {**function, "arguments": arguments}}
