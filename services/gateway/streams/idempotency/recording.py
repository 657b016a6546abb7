"""An answer as it is kept: what was asked of the model, without the prompt, and all that
it answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import Field, TypeAdapter

from schemas.base import Message
from schemas.inference import End, InferenceRequested, Logprob, Piece, ReplyChunk
from services.common.requests.tool_calls import ToolCalls, join_tool_calls
from services.gateway.admission.admitted import Admitted
from services.gateway.streams.reply_stream import ReplyStream

_MAX_BYTES = 2 * 1024 * 1024


class RecordedAnswer(Message):
    """One request's answer: its pieces are joined, one a choice."""

    request: InferenceRequested
    pieces: tuple[Piece, ...] = Field(default=())
    end: End


RECORDED: TypeAdapter[tuple[RecordedAnswer, ...]] = TypeAdapter(tuple[RecordedAnswer, ...])


@dataclass
class _Choice:
    texts: list[str] = field(default_factory=list)
    tokens: int = 0
    finish_reason: str | None = None
    logprobs: list[Logprob] = field(default_factory=list)
    tool_calls: ToolCalls = ()

    def piece(self, index: int) -> Piece:
        return Piece(
            index=index,
            text="".join(self.texts),
            tokens=self.tokens,
            finish_reason=self.finish_reason,
            logprobs=tuple(self.logprobs) or None,
            tool_calls=self.tool_calls or None,
        )


class Recorder:
    """Joins what a reply stream hears, whether its client is still there or not.

    Beyond 2 MiB (log-probabilities can be that large) it keeps nothing.
    """

    def __init__(self, request: InferenceRequested) -> None:
        self.end: End | None = None
        self.too_large = False
        self._request = request
        self._choices = [_Choice() for _ in range(request.sampling.n)]
        self._bytes = 0

    @property
    def tenant(self) -> str:
        """Whose answer it is."""
        return self._request.tenant

    def hear(self, pieces: Sequence[Piece], end: End | None) -> None:
        """Takes a step of the stream."""
        self.end = end or self.end
        for piece in pieces:
            self._bytes += len(piece.text) if piece.logprobs is None else len(piece.encode())
            if self._bytes > _MAX_BYTES:
                self.too_large, self._choices = True, [_Choice() for _ in self._choices]
            if not self.too_large:
                self._add(piece)

    def recorded(self) -> RecordedAnswer | None:
        """The whole answer; None where it has not ended, or is too large."""
        if self.end is None or self.too_large:
            return None
        bare = self._request.model_copy(
            update={
                "messages": (),
                "prompt": "",
                "sampling": self._request.sampling.model_copy(
                    update={"tools": (), "response_format": None, "stop": (), "logit_bias": None}
                ),
            }
        )
        pieces = tuple(choice.piece(index) for index, choice in enumerate(self._choices))
        return RecordedAnswer(request=bare, pieces=pieces, end=self.end)

    def _add(self, piece: Piece) -> None:
        choice = self._choices[piece.index]
        choice.texts.append(piece.text)
        choice.tokens += piece.tokens
        choice.finish_reason = piece.finish_reason or choice.finish_reason
        choice.logprobs.extend(piece.logprobs or ())
        if piece.tool_calls:
            choice.tool_calls = join_tool_calls(choice.tool_calls, piece.tool_calls)


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
