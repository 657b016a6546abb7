"""What a client has of a request, and what that makes of the next reply.

Pure: one state and one reply give the next state and what to do.

The state is a function of the log alone: every gateway that reads the same partition
from a request's start comes to the same state at the same offset, and so asks for the
same further attempts. That is why silence, which is no record, is first written into
the log as `RetryNeeded` and only then acted upon.

- An attempt belongs to the first replica that is heard of; another one's replies to it
  are ignored.
- A replica's chunks count from 0. A repeat is ignored; a gap ends the attempt.
- An ended attempt is followed by the next, which continues behind what was delivered.
  Whatever an ended attempt still says is ignored.
- A request ends once. Where the replica died before the dispatcher heard of that end,
  the next attempt only tells it again.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from schemas.errors import ErrorCode, RetryReason
from schemas.inference import (
    Delivered,
    End,
    ErrorDetail,
    LogPosition,
    Outcome,
    Piece,
    ReplyBeat,
    ReplyChunk,
    ReplyEnded,
    RetryNeeded,
)
from services.common.requests.tool_calls import join_tool_calls, rest_of_tool_calls

StreamReply = ReplyChunk | ReplyBeat | ReplyEnded | RetryNeeded


class Phase(StrEnum):
    """Where a request stands: nobody was heard of yet, a replica works on it, or it is
    over.
    """

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where a request stands after a prefix of the log.

    `choices` is what was delivered of each; `queue_ms` and `ttft_ms` are those of the
    attempt that gave the first token.
    """

    choices: tuple[Delivered, ...]
    max_attempts: int
    attempt: int = 1
    phase: Phase = Phase.WAITING
    replica_id: str = ""
    next_seq: int = 0
    end: End | None = None
    queue_ms: float | None = None
    ttft_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What a reply came to.

    `pieces` go to the client; `end` is set once in a stream's life. `retry` asks for
    the attempt that the new state names; `previous` is where the log has the one before
    it, where known. `ignored` says why a reply changed nothing.
    """

    state: StreamState
    pieces: tuple[Piece, ...] = ()
    end: End | None = None
    retry: str = ""
    previous: LogPosition | None = None
    ignored: str = ""


def new_stream(choices: int, *, max_attempts: int) -> StreamState:
    """A request of which nothing was heard."""
    return StreamState((Delivered(),) * choices, max_attempts)


def advance(state: StreamState, reply: StreamReply) -> Step:
    """The step that a reply leads to."""
    if state.phase is Phase.ENDED:
        return _after_end(state, reply)
    match reply:
        case ReplyChunk():
            return _on_chunk(state, reply)
        case ReplyBeat():
            return _on_beat(state, reply)
        case RetryNeeded():
            return _on_retry_needed(state, reply)
        case ReplyEnded():
            return _on_ended(state, reply)


def deliver(choices: tuple[Delivered, ...], pieces: tuple[Piece, ...]) -> tuple[Delivered, ...]:
    """The choices with further pieces."""
    return _deliver_wanted(choices, pieces)[1]


def _after_end(state: StreamState, reply: StreamReply) -> Step:
    if isinstance(reply, RetryNeeded) and reply.attempt == state.attempt < state.max_attempts:
        return Step(
            replace(state, attempt=state.attempt + 1), retry=RetryReason.END_LOST, previous=reply.origin
        )
    return Step(state, ignored="after_end")


def _on_chunk(state: StreamState, chunk: ReplyChunk) -> Step:
    if stranger := _stranger(state, chunk):
        return Step(state, ignored=stranger)
    if chunk.seq < state.next_seq:
        return Step(state, ignored="repeat")
    if chunk.seq > state.next_seq:
        return _retry(state, RetryReason.GAP, None)
    pieces, choices = _deliver_wanted(state.choices, chunk.pieces)
    timed = chunk if state.ttft_ms is None else state
    state = StreamState(
        choices,
        state.max_attempts,
        state.attempt,
        Phase.RUNNING,
        chunk.replica_id,
        chunk.seq + 1,
        queue_ms=timed.queue_ms,
        ttft_ms=timed.ttft_ms,
    )
    if chunk.end is None:
        return Step(state, pieces)
    if chunk.end.retryable:
        return replace(_retry(state, RetryReason.REPLICA_GAVE_UP, None), pieces=pieces)
    return _finish(state, pieces, chunk.end)


def _on_beat(state: StreamState, beat: ReplyBeat) -> Step:
    if stranger := _stranger(state, beat):
        return Step(state, ignored=stranger)
    return Step(replace(state, phase=Phase.RUNNING, replica_id=beat.replica_id))


def _on_retry_needed(state: StreamState, needed: RetryNeeded) -> Step:
    if needed.attempt != state.attempt:
        return Step(state, ignored="repeat")
    return _retry(state, needed.reason, needed.origin)


def _on_ended(state: StreamState, ended: ReplyEnded) -> Step:
    if ended.attempt < state.attempt:
        return Step(state, ignored="older_attempt")
    if not ended.choices:
        return _finish(state, (), ended.end)
    rest = _rest(state.choices, ended.choices)
    if rest is None:
        detail = ErrorDetail(
            code=ErrorCode.ANSWER_CHANGED,
            message="The request was completed with another text than the one delivered so far; send it "
            "again.",
        )
        return _finish(state, (), ended.end.model_copy(update={"outcome": Outcome.FAILED, "error": detail}))
    pieces, choices = _deliver_wanted(state.choices, rest)
    return _finish(replace(state, choices=choices), pieces, ended.end)


def _stranger(state: StreamState, reply: ReplyChunk | ReplyBeat) -> str:
    """Why a reply is not the current attempt's; empty if it is."""
    if reply.attempt != state.attempt:
        return "older_attempt" if reply.attempt < state.attempt else "unknown_attempt"
    return "other_replica" if state.replica_id not in ("", reply.replica_id) else ""


def _retry(state: StreamState, reason: str, previous: LogPosition | None) -> Step:
    if state.attempt >= state.max_attempts:
        message = (
            f"The request was given up after {state.attempt} attempts, the last for: {reason}. Send it again."
        )
        return _finish(
            state,
            (),
            End(
                outcome=Outcome.FAILED, error=ErrorDetail(code=ErrorCode.ATTEMPTS_EXHAUSTED, message=message)
            ),
        )
    following = replace(state, attempt=state.attempt + 1, phase=Phase.WAITING, replica_id="", next_seq=0)
    return Step(following, retry=reason, previous=previous)


def _finish(state: StreamState, pieces: tuple[Piece, ...], end: End) -> Step:
    if end.outcome in (Outcome.COMPLETED, Outcome.CACHE_HIT) and end.error is None:
        unfinished = tuple(
            Piece(index=index, finish_reason="stop")
            for index, choice in enumerate(state.choices)
            if not choice.finish_reason
        )
        closing, choices = _deliver_wanted(state.choices, unfinished)
        pieces, state = pieces + closing, replace(state, choices=choices)
    return Step(replace(state, phase=Phase.ENDED, end=end), pieces, end)


def _deliver_wanted(
    choices: tuple[Delivered, ...], pieces: tuple[Piece, ...]
) -> tuple[tuple[Piece, ...], tuple[Delivered, ...]]:
    """The pieces of choices that exist and are not finished, and the choices with them."""
    after, wanted = list(choices), []
    for piece in pieces:
        if 0 <= piece.index < len(after) and after[piece.index].finish_reason is None:
            have = after[piece.index]
            after[piece.index] = Delivered(
                text=have.text + piece.text,
                tokens=have.tokens + piece.tokens,
                finish_reason=piece.finish_reason,
                tool_calls=join_tool_calls(have.tool_calls, piece.tool_calls)
                if piece.tool_calls
                else have.tool_calls,
            )
            wanted.append(piece)
    return tuple(wanted), tuple(after)


def _rest(choices: tuple[Delivered, ...], whole: tuple[Delivered, ...]) -> tuple[Piece, ...] | None:
    """What of a whole answer the client lacks; None where the client has something
    else.
    """
    if len(choices) != len(whole) or not all(
        full.text.startswith(have.text) for have, full in zip(choices, whole, strict=True)
    ):
        return None
    pieces = []
    for index, (have, full) in enumerate(zip(choices, whole, strict=True)):
        calls = rest_of_tool_calls(have.tool_calls, full.tool_calls)
        if calls is None:
            return None
        piece = Piece(
            index=index,
            text=full.text[len(have.text) :],
            tokens=max(0, full.tokens - have.tokens),
            finish_reason=full.finish_reason,
            tool_calls=calls or None,
        )
        pieces += [piece] if have.finish_reason is None else []
    return tuple(pieces)
