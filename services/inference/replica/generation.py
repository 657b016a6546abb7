"""One attempt on its way from the engine to the client: pieces are gathered, numbered
and published; at the end the dispatcher is told the whole.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from schemas.errors import ErrorCode
from schemas.inference import (
    Delivered,
    End,
    ErrorDetail,
    InferenceRequested,
    Outcome,
    Piece,
    ReplyBeat,
    ReplyChunk,
    RequestFinished,
    Usage,
)
from schemas.limits import CHUNK_BYTES, MARGIN_BYTES, MAX_ANSWER_BYTES, MAX_ERROR_CHARS, MAX_RECORD_BYTES
from services.common.clock import utc_now
from services.common.errors import RecordTooLargeError, TocsinError
from services.common.requests.tool_calls import join_tool_calls
from services.detection.masking import mask
from services.detection.sensitive import find_to_keep_out
from services.inference.engines import base
from services.inference.replica.engine_messages import (
    encodable,
    for_engine,
    json_bytes,
    piece_bytes,
    to_message,
    tool_call_bytes,
)

log = structlog.get_logger(__name__)

STREAM_GATHER_S = 0.025
"""A stream's pieces are gathered for so long after the first, so that fast engines
don't cost a record a token.
"""
WHOLE_GATHER_S = 0.25
"""The same for a request whose client waits for the whole answer: its chunks only
matter if this replica dies.
"""

Publish = Callable[[ReplyChunk | ReplyBeat], Awaitable[None]]


@dataclass
class Generation:
    """Runs one attempt.

    `publish` sends to the stream's reply streams; `run` returns what the dispatcher is
    to know.
    """

    request: InferenceRequested
    replica_id: str
    model: str
    publish: Publish
    received_at: datetime = field(default_factory=utc_now)
    cancelled: bool = field(default=False, init=False)
    cut_off: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        request = self.request
        self._choices = [_Choice(delivered) for delivered in request.delivered] or [
            _Choice(Delivered()) for _ in range(request.sampling.n)
        ]
        self._tokens_before = sum(choice.tokens for choice in self._choices)
        self._answer_bytes = sum(len(delivered.encode()) for delivered in request.delivered)
        self._gathered: list[Piece] = []
        self._gathered_bytes = 0
        self._generating: asyncio.Task[None] | None = None
        self._seq = 0
        self._sending = asyncio.Lock()
        self._sent_s = 0.0
        self._began_s = self._heard_s = time.monotonic()
        self._first_token_at: datetime | None = None
        self._timed = False
        self._usage: Usage | None = None
        self._logprob_sum, self._logprob_count = 0.0, 0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flushes: set[asyncio.Task[None]] = set()

    @property
    def tokens(self) -> int:
        """Tokens that this attempt has generated."""
        return sum(choice.tokens for choice in self._choices) - self._tokens_before

    @property
    def prompt_tokens(self) -> int:
        """The prompt's tokens, once the engine has counted them."""
        return self._usage.prompt_tokens if self._usage is not None else 0

    def cancel(self, *, cut_off: bool = False) -> None:
        """Stops generating; `cut_off`: the answer ends here for what it says, and the
        client has what it gets of it.

        Only the engine is interrupted: an attempt that has not begun yet ends when it
        does, and one that is telling its end goes on telling it.
        """
        self.cancelled, self.cut_off = True, cut_off
        if self._generating is not None:
            self._generating.cancel()

    async def run(self, engine: base.Engine) -> RequestFinished:
        """Generates to the end, a cancellation, the deadline or a failure; whichever it
        is, it is told once.
        """
        end = await self._generate(engine)
        try:
            await self._finish_flushes()
            if not end.retryable:
                await self._send(end)
        except TocsinError as error:  # the dispatcher hears the end all the same, and tells it who asks
            log.warning("end_not_streamed", request_id=self.request.request_id, error=repr(error))
        return RequestFinished(
            replica_id=self.replica_id,
            model=self.model,
            request_id=self.request.request_id,
            attempt=self.request.attempt,
            end=end,
            choices=tuple(choice.delivered() for choice in self._choices),
        )

    async def beat(self, silence_s: float) -> None:
        """Says that the attempt is being worked on, where nothing was sent for
        `silence_s`.
        """
        if time.monotonic() - self._heard_s >= silence_s:
            self._heard_s = time.monotonic()
            await self.publish(
                ReplyBeat(
                    request_id=self.request.request_id,
                    attempt=self.request.attempt,
                    replica_id=self.replica_id,
                )
            )

    async def _generate(self, engine: base.Engine) -> End:
        if self._is_unwanted():
            return self._end_unwanted()
        remaining_s = (self.request.deadline - utc_now()).total_seconds()
        self._generating = asyncio.current_task()
        try:
            async with (
                asyncio.timeout(max(0.0, remaining_s)),
                contextlib.aclosing(engine.generate(for_engine(self.request))) as pieces,
            ):
                async for piece in pieces:
                    if isinstance(piece, base.Usage):
                        self._usage = Usage(
                            prompt_tokens=piece.prompt_tokens,
                            completion_tokens=piece.completion_tokens,
                            cached_tokens=piece.cached_tokens,
                        )
                    else:
                        await self._take(piece)
            return self._end(Outcome.COMPLETED)
        except asyncio.CancelledError:
            if not self._is_unwanted():
                raise
            if self._generating is not None:
                self._generating.uncancel()
            return self._end_unwanted()
        except Exception as error:  # noqa: BLE001  whatever an engine does, the request gets its end
            return self._end_by(error)
        finally:
            self._generating = None

    def _is_unwanted(self) -> bool:
        return self.cancelled

    def _end_unwanted(self) -> End:
        if not self.cut_off:
            return self._end(Outcome.CANCELLED)
        for index, choice in enumerate(self._choices):
            if choice.finish_reason is None:
                piece = Piece(index=index, finish_reason=ErrorCode.CONTENT_FILTER.value)
                choice.add(piece)
                self._gathered.append(piece)
        return self._end(Outcome.COMPLETED)

    def _end_by(self, error: Exception) -> End:
        match error:
            case TimeoutError():
                detail = ErrorDetail(
                    status=504,
                    code=ErrorCode.DEADLINE_EXCEEDED,
                    message="the request's deadline passed while it was being answered",
                )
                return self._end(Outcome.EXPIRED, detail)
            case RecordTooLargeError():
                return self._end(
                    Outcome.FAILED,
                    ErrorDetail(
                        status=422,
                        code=ErrorCode.ANSWER_TOO_LARGE,
                        message=f"the answer is longer than {MAX_ANSWER_BYTES // 1024} KiB; ask for less",
                        param="max_tokens",
                    ),
                )
            case base.InvalidRequestError():
                return self._end(
                    Outcome.FAILED,
                    ErrorDetail(
                        status=400, code=error.code, message=_brief(error.message), param=error.param
                    ),
                )
            case base.ContinuationError():
                return self._end(
                    Outcome.FAILED,
                    ErrorDetail(status=503, code=ErrorCode.CANNOT_CONTINUE, message=_brief(str(error))),
                )
            case base.EngineFailedError():
                # An upstream may quote the prompt.
                told = mask(_brief(str(error)), find=find_to_keep_out).text
                log.warning("engine_failed", request_id=self.request.request_id, error=told)
                return self._end(
                    Outcome.FAILED,
                    ErrorDetail(status=503, code=ErrorCode.ENGINE_FAILED, message=_brief(str(error))),
                    retryable=True,
                )
        log.error("generation_failed", request_id=self.request.request_id, exc_info=error)
        return self._end(
            Outcome.FAILED,
            ErrorDetail(status=503, code=ErrorCode.ENGINE_FAILED, message="the engine failed unexpectedly"),
            retryable=True,
        )

    async def _take(self, piece: base.Piece) -> None:
        if self._first_token_at is None:
            self._first_token_at = utc_now()
        piece = encodable(piece)
        self._answer_bytes += json_bytes(piece.text) + tool_call_bytes(piece)
        if self._answer_bytes > MAX_ANSWER_BYTES:
            raise RecordTooLargeError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        message = to_message(piece)
        await self._make_room(piece_bytes(message))
        self._choices[piece.index].add(message)
        for token in piece.logprobs or ():
            self._logprob_sum += token.logprob
            self._logprob_count += 1
        self._gathered.append(message)
        await self._send_when_due()

    async def _make_room(self, size_bytes: int) -> None:
        """Sends what has gathered where the next piece would make it too large."""
        if size_bytes > MAX_RECORD_BYTES - MARGIN_BYTES:
            raise RecordTooLargeError(f"a piece of {size_bytes} bytes")
        if self._gathered and self._gathered_bytes + size_bytes > CHUNK_BYTES:
            await self._send(None)
        self._gathered_bytes += size_bytes

    async def _send_when_due(self) -> None:
        gather_s = STREAM_GATHER_S if self.request.stream else WHOLE_GATHER_S
        since_s = time.monotonic() - (
            self._sent_s if self.request.stream else max(self._sent_s, self._began_s)
        )
        if since_s >= gather_s:
            await self._send(None)
        elif self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(gather_s - since_s, self._flush_later)

    def _flush_later(self) -> None:
        self._flush_timer = None
        if self._gathered:
            task = asyncio.get_running_loop().create_task(self._send(None))
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)

    async def _finish_flushes(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._flushes:
            await asyncio.gather(*self._flushes)

    async def _send(self, end: End | None) -> None:
        pieces, self._gathered, self._gathered_bytes = tuple(self._gathered), [], 0
        seq, self._seq = self._seq, self._seq + 1
        self._sent_s = time.monotonic()
        request = self.request
        await self.publish(
            ReplyChunk(
                request_id=request.request_id,
                tenant=request.tenant,
                attempt=request.attempt,
                replica_id=self.replica_id,
                seq=seq,
                pieces=pieces,
                end=end,
                **self._first_token_times(),
            )
        )

    def _first_token_times(self) -> dict[str, float]:
        """Queue and first-token time, once: for the first chunk that has a token."""
        if self._first_token_at is None or self._timed:
            return {}
        self._timed = True
        asked_at = self.request.requested_at
        return {
            "queue_ms": _milliseconds(asked_at, self.received_at),
            "ttft_ms": _milliseconds(asked_at, self._first_token_at),
        }

    def _end(self, outcome: Outcome, error: ErrorDetail | None = None, *, retryable: bool = False) -> End:
        asked_at = self.request.requested_at
        return End(
            outcome=outcome,
            retryable=retryable,
            usage=self._usage_at(outcome),
            error=error,
            queue_ms=_milliseconds(asked_at, self.received_at),
            ttft_ms=_milliseconds(asked_at, self._first_token_at) if self._first_token_at else None,
            generation_ms=(time.monotonic() - self._began_s) * 1000,
            mean_logprob=self._logprob_sum / self._logprob_count if self._logprob_count else None,
        )

    def _usage_at(self, outcome: Outcome) -> Usage:
        """What the engine counted; of a generation that broke off, its prompt only, and
        the tokens that were seen.
        """
        counted = self._usage or Usage()
        if outcome is Outcome.COMPLETED and self._usage is not None and not self.cut_off:
            return counted
        seen = sum(choice.tokens for choice in self._choices)
        return counted.model_copy(update={"completion_tokens": seen})


class _Choice:
    """A choice's whole text so far, over all attempts."""

    def __init__(self, delivered: Delivered) -> None:
        self._texts = [delivered.text]
        self.tokens = delivered.tokens
        self.finish_reason = delivered.finish_reason
        self._tool_calls = delivered.tool_calls

    def add(self, piece: Piece) -> None:
        self._texts.append(piece.text)
        if piece.tool_calls:
            self._tool_calls = join_tool_calls(self._tool_calls, piece.tool_calls)
        self.tokens += piece.tokens
        self.finish_reason = piece.finish_reason or self.finish_reason

    def delivered(self) -> Delivered:
        return Delivered(
            text="".join(self._texts),
            tokens=self.tokens,
            finish_reason=self.finish_reason,
            tool_calls=self._tool_calls,
        )


def _milliseconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds() * 1000)


def _brief(message: str) -> str:
    """An error's text, which may be an upstream's whole page."""
    return message[:MAX_ERROR_CHARS]
