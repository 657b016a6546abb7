"""An answer as it is kept: what was asked of the model, without the prompt, and all that
its client was given.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson
from pydantic import Field, TypeAdapter

from schemas.base import Message
from schemas.inference import End, InferenceRequested, Piece, ReplyChunk
from services.common.requests.shared_room import SharedRoom
from services.common.requests.tool_calls import ToolCalls, join_tool_calls
from services.gateway.streams.admitted import Admitted
from services.gateway.streams.reply_stream import ReplyStream

_MAX_BYTES = 2 * 1024 * 1024
_RECORDER_BYTES = 4096
"""What an answer takes beside its text."""


class RecordedAnswer(Message):
    """One request's answer: its pieces are joined, one a choice."""

    request: InferenceRequested
    pieces: tuple[Piece, ...] = Field(default=())
    end: End


RECORDED: TypeAdapter[tuple[RecordedAnswer, ...]] = TypeAdapter(tuple[RecordedAnswer, ...])


@dataclass
class _Taken:
    """What one answer has taken of the room."""

    room: SharedRoom
    tenant: str
    size_bytes: int = 0

    def grow(self, size_bytes: int) -> bool:
        if not self.room.take(self.tenant, size_bytes):
            return False
        self.size_bytes += size_bytes
        return True

    def give_back(self) -> None:
        self.room.give_back(self.tenant, self.size_bytes)
        self.size_bytes = 0


@dataclass
class _Choice:
    """Text as UTF-8 and log-probabilities as JSON, so that they take what is counted."""

    text: bytearray = field(default_factory=bytearray)
    tokens: int = 0
    finish_reason: str | None = None
    logprobs: bytearray = field(default_factory=bytearray)
    tool_calls: ToolCalls = ()

    def add(self, piece: Piece, text: bytes, logprobs: bytes) -> None:
        self.text += text
        self.tokens += piece.tokens
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.logprobs += logprobs
        if piece.tool_calls:
            self.tool_calls = join_tool_calls(self.tool_calls, piece.tool_calls)

    def piece(self, index: int) -> Piece:
        logprobs = orjson.loads(b"[" + self.logprobs.removesuffix(b",") + b"]")
        return Piece(
            index=index,
            text=self.text.decode(errors="surrogatepass"),
            tokens=self.tokens,
            finish_reason=self.finish_reason,
            logprobs=tuple(logprobs) or None,
            tool_calls=self.tool_calls or None,
        )


class Recorder:
    """Joins what a reply stream hears, whether its client is still there or not.

    It keeps nothing of an answer beyond 2 MiB (log-probabilities can be that large), nor
    where there is no room. What it took is given back when it is closed, or forgotten
    with its stream.
    """

    def __init__(self, request: InferenceRequested, room: SharedRoom) -> None:
        self.end: End | None = None
        self.too_large = False
        self.crowded_out = False
        self._request = _without_prompt(request)
        self._choices = [_Choice() for _ in range(request.sampling.n)]
        self._taken = _Taken(room, request.tenant)
        weakref.finalize(self, self._taken.give_back).atexit = False
        self._make_room(_RECORDER_BYTES)

    @property
    def tenant(self) -> str:
        """Whose answer it is."""
        return self._request.tenant

    def hear(self, pieces: Sequence[Piece], end: End | None) -> None:
        """Takes a step of the stream."""
        self.end = end or self.end
        for piece in pieces:
            if not self._choices:
                return
            text = piece.text.encode(errors="surrogatepass")
            logprobs = b"".join(orjson.dumps(one) + b"," for one in piece.logprobs or ())
            calls = 0 if piece.tool_calls is None else len(orjson.dumps(piece.tool_calls))
            if self._make_room(len(text) + len(logprobs) + calls):
                self._choices[piece.index].add(piece, text, logprobs)

    def recorded(self) -> RecordedAnswer | None:
        """The whole answer; None where it has not ended, or was not kept."""
        if self.end is None or not self._choices:
            return None
        pieces = tuple(choice.piece(index) for index, choice in enumerate(self._choices))
        return RecordedAnswer(request=self._request, pieces=pieces, end=self.end)

    def close(self) -> None:
        """Keeps nothing any more."""
        self._choices = []
        self._taken.give_back()

    def _make_room(self, size_bytes: int) -> bool:
        self.too_large = self._taken.size_bytes + size_bytes > _MAX_BYTES
        self.crowded_out = not (self.too_large or self._taken.grow(size_bytes))
        if self.too_large or self.crowded_out:
            self.close()
            return False
        return True


def _without_prompt(request: InferenceRequested) -> InferenceRequested:
    sampling = request.sampling.model_copy(
        update={"tools": (), "response_format": None, "stop": (), "logit_bias": None}
    )
    return request.model_copy(update={"messages": (), "prompt": "", "sampling": sampling, "answer": None})


def refused(request: InferenceRequested, end: End) -> RecordedAnswer:
    """The answer to a request that was refused for what it is."""
    return RecordedAnswer(request=_without_prompt(request), end=end)


def replayed(answer: RecordedAnswer, now: float) -> ReplyStream:
    """A reply stream that gives a recorded answer; nothing is followed for it."""
    request = answer.request
    reply_stream = ReplyStream(
        Admitted(request),
        max_attempts=1,
        max_buffered_bytes=4 * _MAX_BYTES,
        now=now,
        next_attempt=lambda *_: None,
    )
    chunk = ReplyChunk(
        request_id=request.request_id,
        tenant=request.tenant,
        attempt=1,
        replica_id="recorded",
        seq=0,
        pieces=answer.pieces,
        end=answer.end,
    )
    reply_stream.hear(0, chunk, now, size_bytes=0)
    return reply_stream
