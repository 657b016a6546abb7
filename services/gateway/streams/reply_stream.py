"""One client's view of one request: what was heard of it, what the client has still to
be given.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from sys import getsizeof

from schemas.errors import ErrorCode
from schemas.inference import AnyReply, End, InferenceRequested, LogPosition, Piece, StreamTaken
from services.common.http.problems import Problem, unavailable
from services.common.process import metrics
from services.gateway.streams.admitted import Admitted
from services.gateway.streams.output_filter.output_filter import OutputFilter
from services.gateway.streams.state import Phase, Step, StreamState, advance, new_stream

_ARRIVAL_BYTES = 1024
"""What an arrival takes beside its text."""

NextAttempt = Callable[["ReplyStream", InferenceRequested, str], None]
OnCut = Callable[["ReplyStream"], None]
Listener = Callable[[tuple[Piece, ...], End | None], None]


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a record adds to the stream, and the record's offset.

    Not the state after it, which holds the whole text so far: a slow client's buffer
    would grow with the square of its lag.
    """

    offset: int
    pieces: tuple[Piece, ...]
    end: End | None


class ReplyStream:
    """Takes a request's records in the log's order and hands their steps to the task
    that serves the client.

    `next_attempt` is called when the stream needs a further attempt. A reply stream
    that joins late is `replaying` until it has the history: till then it asks for
    nothing, and what comes live waits. One whose reader is behind asks for nothing
    either, until the reader has caught up.

    What the client gets passes through the `output_filter`; `on_cut` is called when that lets
    nothing more out and the model goes on.
    """

    def __init__(
        self,
        admitted: Admitted,
        *,
        max_attempts: int,
        max_buffered_bytes: int,
        now: float,
        next_attempt: NextAttempt,
        traceparent: str | None = None,
        replaying: bool = False,
        output_filter: OutputFilter | None = None,
        on_cut: OnCut = lambda _: None,
    ) -> None:
        self.request = request = admitted.request
        self.traceparent = traceparent
        self.admitted = admitted
        self.key = request.request_id.encode()
        self.began_at = None if replaying else now
        self.state: StreamState = new_stream(request.sampling.n, max_attempts=max_attempts)
        self._origin: LogPosition | None = None
        self._follower_id = ""
        self._heard_at = now
        self._problem: Problem | None = None
        self._taken = False
        self._left = False
        self._muted = False
        self._replaying = replaying
        self._behind = False
        self._early: list[tuple[int, AnyReply, int]] = []
        self._unanswered: Step | None = None
        self._next_attempt = next_attempt
        self._output_filter, self._on_cut, self._cut_told = output_filter, on_cut, False
        self._max_buffered_bytes = max_buffered_bytes
        self._buffered_bytes = 0
        self._buffer: list[Arrival] = []
        self._wake = asyncio.Event()
        self._listener: Listener | None = None
        self._last_offset = -1

    @property
    def ended(self) -> bool:
        """Whether the request is over."""
        return self.state.phase is Phase.ENDED

    @property
    def heard_at(self) -> float:
        """When something was last heard of the request (monotonic seconds)."""
        return self._heard_at

    @property
    def origin(self) -> LogPosition | None:
        """Where the log has the current attempt, once known."""
        return self._origin

    @property
    def problem(self) -> Problem | None:
        """Why this client gets no more, where the log does not say so."""
        return self._problem

    @property
    def taken(self) -> bool:
        """Whether another reply stream serves the client by now: leaving must not
        cancel.
        """
        return self._taken

    @property
    def left(self) -> bool:
        """Whether the client closed its connection."""
        return self._left

    @property
    def begun(self) -> bool:
        """Whether a replica was heard of, or the request's end."""
        return self.state.phase is not Phase.WAITING

    def attempt_lies_at(self, attempt: int, position: LogPosition) -> None:
        """The log has this attempt there. A former one's place is of no use any more."""
        if self.state.attempt == attempt:
            self._origin = position

    def take_over(self, follower_id: str) -> None:
        """This reply stream serves the client from here on, under this name."""
        self._follower_id = follower_id

    def give_away(self) -> None:
        """This gateway serves the client no more; the gateway it reattached to does."""
        self._taken = True

    def silence_reported(self, now: float) -> None:
        """The silence is in the log: a further one counts from now on."""
        self._heard_at = now

    def size_bytes(self) -> int:
        """About how much memory the request and its answer take."""
        request = self.request
        texts = [request.prompt, *(choice.text for choice in self.state.choices)]
        return _ARRIVAL_BYTES + sum(map(_size_of, (request.messages, request.sampling.tools, *texts)))

    def hear(
        self, offset: int, heard: AnyReply, now: float, *, size_bytes: int, behind: bool = False
    ) -> None:
        """Takes a record of this size. One that was taken before changes nothing.

        `behind`: the reader has not read up to the present.
        """
        self._behind = self._behind or behind
        if not self._replaying:
            self._take_in(offset, heard, now, size_bytes)
        elif self._has_room(size_bytes):
            self._buffered_bytes += _ARRIVAL_BYTES + size_bytes
            self._early.append((offset, heard, size_bytes))
        else:
            self.fail(unavailable("The stream's history takes too long to read. Try again.").problem)

    def go_live(self, history: list[tuple[int, AnyReply]], now: float) -> None:
        """Takes the history, then what came meanwhile; from here on the reply stream
        acts.

        An attempt that nobody was seen to begin is asked for again. The history is no
        lag of the client's: it does not count as one.
        """
        for offset, heard in history:
            self._take_in(offset, heard, now, 0)
        early, self._early, self._buffered_bytes = self._early, [], 0
        for offset, heard, size_bytes in early:
            self._take_in(offset, heard, now, size_bytes)
        self._replaying = False
        self._answer()
        self._tell_cut()

    def catch_up(self) -> None:
        """The reader has read up to the present: an attempt that the log did not turn
        out to have begun is asked for.
        """
        self._behind = False
        self._answer()

    def fail(self, problem: Problem) -> None:
        """Ends this client's part for a reason that is not in the log."""
        self._problem = self._problem or problem
        self._wake.set()

    def leave(self) -> None:
        """The client closed its connection."""
        self._left = True
        self._wake.set()

    @property
    def recorded(self) -> bool:
        """Whether somebody keeps the answer, so that it is of use without its client."""
        return self._listener is not None

    def listen(self, listener: Listener) -> None:
        """Lets somebody hear each step, whatever becomes of the client. To be called
        before the first `take`: what arrived till then is told at once.
        """
        self._listener = listener
        for arrival in self._buffer:
            listener(arrival.pieces, arrival.end)

    def mute(self) -> None:
        """The client is gone: what arrives is followed but not kept."""
        self._muted = True
        self._buffer.clear()
        self._buffered_bytes = 0

    def settle(self) -> None:
        """The request is over as far as this gateway goes: frees its place, and tells its
        limits what it took, as far as that is known here. A stream that another gateway
        serves goes on there.
        """
        state = self.state
        delivered = sum(choice.tokens for choice in state.choices)
        if state.end is not None:
            usage = state.end.usage
            self.admitted.settle(usage.prompt_tokens, max(usage.completion_tokens, delivered))
        elif self._taken:
            self.admitted.keep()
        else:
            self.admitted.settle_delivered(delivered, begun=self.begun or delivered > 0)

    async def take(self, timeout_s: float) -> list[Arrival]:
        """What has arrived since the last call, at once or when there is something.

        Nothing after `timeout_s`, a `problem` or the client's leaving.
        """
        if not self._buffer and self.problem is None and not self.left:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
        taken, self._buffer, self._buffered_bytes = self._buffer, [], 0
        return taken

    def _answer(self) -> None:
        if self._replaying or self._behind:
            return
        unanswered, self._unanswered = self._unanswered, None
        if (
            unanswered is not None
            and unanswered.state.attempt == self.state.attempt
            and self.state.phase is not Phase.RUNNING
        ):
            self._ask_next(unanswered)

    def _has_room(self, size_bytes: int) -> bool:
        return self._buffered_bytes + _ARRIVAL_BYTES + size_bytes <= self._max_buffered_bytes

    def _take_in(self, offset: int, heard: AnyReply, now: float, size_bytes: int) -> None:
        if offset <= self._last_offset:
            return
        self._last_offset = offset
        if isinstance(heard, StreamTaken):
            self._taken = heard.follower_id != self._follower_id
            return
        step = advance(self.state, heard)
        self.state = step.state
        if step.ignored:
            metrics.GATEWAY_IGNORED.labels(step.ignored).inc()
            return
        self._heard_at = now
        if step.retry:
            self._on_retry(step)
        if step.pieces or step.end:
            arrival = self._let_out(offset, step)
            if arrival.pieces or arrival.end:
                self._keep(arrival, size_bytes)
            self._tell_cut()

    def _let_out(self, offset: int, step: Step) -> Arrival:
        """What the client gets of a step. The state goes on with what the model said."""
        if self._output_filter is None:
            return Arrival(offset, step.pieces, step.end)
        pieces = self._output_filter.pass_on(step.pieces, step.end)
        return Arrival(offset, pieces, step.end and self._output_filter.end_of(step.end))

    def _tell_cut(self) -> None:
        """An answer of which no more is told need not go on."""
        is_cut = self._output_filter is not None and self._output_filter.is_cut
        if is_cut and not (self._cut_told or self._replaying or self.ended):
            self._cut_told = True
            self._on_cut(self)

    def _on_retry(self, step: Step) -> None:
        if self._replaying or self._behind:
            self._unanswered = step
        else:
            self._ask_next(step)

    def _ask_next(self, step: Step) -> None:
        state = step.state
        update = {
            "attempt": state.attempt,
            "delivered": state.choices,
            "previous": step.previous or self._origin,
            "ended": state.end,
            "queue_ms": state.queue_ms,
            "ttft_ms": state.ttft_ms,
            "accept_by": None,
        }
        self._origin = None
        self._next_attempt(self, self.request.model_copy(update=update), step.retry)

    def _keep(self, arrival: Arrival, size_bytes: int) -> None:
        if self._listener is not None:
            self._listener(arrival.pieces, arrival.end)
        if self._muted or self.problem is not None:
            return
        if not self._replaying and not self._has_room(size_bytes):
            self.fail(
                Problem(
                    503,
                    ErrorCode.CLIENT_TOO_SLOW,
                    "The stream was read too slowly and cut; reattach with Last-Event-ID.",
                )
            )
            return
        self._buffered_bytes += _ARRIVAL_BYTES + size_bytes
        self._buffer.append(arrival)
        self._wake.set()


def _size_of(value: object) -> int:
    """About how many bytes a JSON value takes in memory."""
    if isinstance(value, str):
        return getsizeof(value)
    if isinstance(value, dict):
        return 64 + sum(_size_of(key) + _size_of(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return 64 + sum(map(_size_of, value))
    return 32
