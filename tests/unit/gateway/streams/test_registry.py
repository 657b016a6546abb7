"""Silence, deadlines, leaving and coming back, on a clock that the test moves."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.inference import (
    End,
    InferenceRequested,
    Lane,
    LogPosition,
    Outcome,
    Piece,
    ReplyBeat,
    ReplyChunk,
    ReplyTo,
    RetryNeeded,
    StreamTaken,
)
from services.common.health import HealthState
from services.gateway.bus.monitor import BusMonitor
from services.gateway.settings import Settings
from services.gateway.streams.queue_positions import QueuePositions
from services.gateway.streams.reader import ReplyReader
from services.gateway.streams.registry import StreamRegistry
from services.gateway.streams.reply_stream import ReplyStream
from services.gateway.streams.state import Phase

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ORIGIN = LogPosition(topic="t", partition=0, offset=7)


@dataclass
class FakeOutbox:
    """Keeps what would be sent."""

    asked: list[InferenceRequested] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)

    def ask_again(self, request: InferenceRequested, traceparent: str | None, on_ack: Any) -> None:
        self.asked.append(request)
        on_ack(ORIGIN)

    def cancel(self, request: InferenceRequested, reason: str) -> None:
        self.cancelled.append(reason)

    def tell_reply_streams(self, reply_to: ReplyTo, message: Any, tenant: str) -> None:
        self.told.append(message)


@dataclass
class Stage:
    """A registry with a clock in the test's hands, and one request that it follows."""

    registry: StreamRegistry
    publisher: FakeOutbox
    reader: ReplyReader
    bus_monitor: BusMonitor
    time_s: float = 0.0
    offset: int = 0

    def follow(self, **more: Any) -> ReplyStream:
        """A reply stream of a new request."""
        request = InferenceRequested(
            request_id="r",
            kind="chat",
            model="m",
            lane=Lane.INTERACTIVE,
            tenant="t",
            key_id="k",
            stream=True,
            reply_to=ReplyTo(partition=0, gateway_id="g"),
            requested_at=NOW,
            deadline=NOW + timedelta(seconds=60),
        )
        return self.registry.follow(request, self.reader, **more)

    def hear(self, reply_stream: ReplyStream, message: Any) -> None:
        """The next record of the log."""
        self.offset += 1
        reply_stream.hear(self.offset, message, self.time_s, size_bytes=500)

    def pass_time(self, seconds: float) -> None:
        """Lets time pass, looking after everything twice a second."""
        for _ in range(int(seconds * 2)):
            self.time_s += 0.5
            self.registry.tick()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A registry on a steady bus."""
    settings = Settings(key_pepper="p" * 16, pseudonym_key="p" * 16, max_buffered_bytes=16 * 1524)  # type: ignore[arg-type]
    reader = ReplyReader("nowhere:1", "test")
    bus_monitor = BusMonitor(reader.tail, HealthState(), [])
    bus_monitor.steady_since = 0.0
    publisher = FakeOutbox()
    queue_positions = QueuePositions(reader.tail)
    registry = StreamRegistry(
        settings,
        publisher,
        bus_monitor,
        queue_positions,
        lambda: NOW + timedelta(seconds=made.time_s),
        lambda: made.time_s,
    )  # type: ignore[arg-type]
    made = Stage(registry, publisher, reader, bus_monitor)
    return made


def chunk(seq: int, text: str = "a", end: End | None = None) -> ReplyChunk:
    """A chunk of the first attempt."""
    return ReplyChunk(
        request_id="r",
        tenant="t",
        attempt=1,
        replica_id="x",
        seq=seq,
        pieces=(Piece(text=text, tokens=1),),
        end=end,
    )


def beat() -> ReplyBeat:
    """A sign of life of the first attempt."""
    return ReplyBeat(request_id="r", attempt=1, replica_id="x")


def lost(attempt: int = 1) -> RetryNeeded:
    """News of a death."""
    return RetryNeeded(request_id="r", tenant="t", attempt=attempt, reason="no heartbeat", origin=ORIGIN)


DONE = End(outcome=Outcome.COMPLETED)


def test_silence_of_a_running_request_is_written_into_the_log(stage: Stage) -> None:
    """Two seconds without a sign: the log is told, and only what comes back from it
    starts the next attempt.
    """
    reply_stream = stage.follow()
    stage.hear(reply_stream, chunk(0))
    stage.pass_time(2)
    assert stage.publisher.told == []
    stage.pass_time(0.5)
    (silence,) = stage.publisher.told
    assert (silence.attempt, silence.reason, stage.publisher.asked) == (1, "silence", [])
    stage.hear(reply_stream, silence)
    (again,) = stage.publisher.asked
    assert (again.attempt, again.delivered[0].text) == (2, "a")
    stage.pass_time(10)
    assert len(stage.publisher.told) == 1


def test_beats_are_no_silence(stage: Stage) -> None:
    """A replica that computes without a word is alive."""
    reply_stream = stage.follow()
    for _ in range(10):
        stage.hear(reply_stream, beat())
        stage.pass_time(1)
    assert stage.publisher.told == []


def test_silence_while_the_bus_is_away_is_the_buss(stage: Stage) -> None:
    """While Kafka does not answer nothing is concluded; a replica gets its time again
    once it does.
    """
    reply_stream = stage.follow()
    stage.hear(reply_stream, beat())
    stage.bus_monitor.note_failure(TimeoutError())
    stage.pass_time(30)
    stage.bus_monitor.steady_since = stage.time_s
    stage.pass_time(2)
    assert stage.publisher.told == []


def test_request_that_waits_beyond_its_deadline_is_given_up(stage: Stage) -> None:
    """504 for the client, and the bus is told once the client was."""
    reply_stream = stage.follow()
    stage.pass_time(60)
    assert reply_stream.problem is None
    stage.pass_time(2)
    assert reply_stream.problem is not None
    assert reply_stream.problem.status == 504
    stage.registry.release(reply_stream, window_s=100)
    assert stage.publisher.cancelled == ["deadline_exceeded"]


def test_request_that_runs_has_no_deadline(stage: Stage) -> None:
    """The deadline is for the beginning."""
    reply_stream = stage.follow()
    for _ in range(100):
        stage.hear(reply_stream, beat())
        stage.pass_time(1)
    assert reply_stream.problem is None


async def test_client_that_leaves_with_a_window_is_waited_for(stage: Stage) -> None:
    """Within the window the request is followed and kept alive through a death; after
    it, cancelled.
    """
    reply_stream = stage.follow()
    stage.registry.release(reply_stream, window_s=5)
    stage.hear(reply_stream, lost())
    stage.pass_time(4)
    assert (len(stage.publisher.asked), stage.publisher.cancelled, stage.registry.followed) == (1, [], 1)
    stage.pass_time(2)
    assert (stage.publisher.cancelled, stage.registry.followed) == (["client_left"], 0)
    assert await reply_stream.take(0) == []


def test_stream_that_was_taken_over_is_not_cancelled(stage: Stage) -> None:
    """Neither a client that leaves after its successor came, nor a window that passes,
    ends the successor's stream.
    """
    first, second = stage.follow(), stage.follow()
    stage.registry.release(second, window_s=5)
    for reply_stream in (first, second):
        stage.hear(reply_stream, StreamTaken(request_id="r", gateway_id="other", follower_id="f"))
    stage.registry.release(first)
    stage.pass_time(10)
    assert (stage.publisher.cancelled, stage.registry.followed) == ([], 0)


def test_own_taking_over_is_not_anothers(stage: Stage) -> None:
    """A reply stream that took over is cancelled with its client; only a later one
    takes it from it.
    """
    reply_stream = stage.follow(replaying=True)
    reply_stream.follower_id = "mine"
    reply_stream.go_live([(1, StreamTaken(request_id="r", gateway_id="g", follower_id="older"))], 0)
    assert reply_stream.taken
    reply_stream.hear(2, StreamTaken(request_id="r", gateway_id="g", follower_id="mine"), 0, size_bytes=500)
    assert not reply_stream.taken


def test_ended_request_is_remembered_for_a_lost_end(stage: Stage) -> None:
    """For some seconds after its end a request can still be told again; then it is
    forgotten.
    """
    reply_stream = stage.follow()
    stage.hear(reply_stream, chunk(0, end=DONE))
    stage.registry.release(reply_stream)
    stage.hear(reply_stream, lost())
    assert stage.publisher.asked[0].ended == DONE
    stage.pass_time(11)
    assert not stage.reader._reply_streams
    assert stage.publisher.cancelled == []


async def test_replaying_follower_asks_for_nothing_until_it_is_live(stage: Stage) -> None:
    """What history already led to is not asked for again, unless nobody was seen to
    begin it; early live records wait and repeats are dropped.
    """
    reply_stream = stage.follow(replaying=True)
    reply_stream.hear(3, lost(), 0, size_bytes=500)
    history = [(1, chunk(0)), (2, chunk(1, "b")), (3, lost())]
    reply_stream.go_live(history, 0)
    assert [one.attempt for one in stage.publisher.asked] == [2]
    assert [arrival.offset for arrival in await reply_stream.take(0)] == [1, 2]
    begun = stage.follow(replaying=True)
    second = ReplyChunk(request_id="r", tenant="t", attempt=2, replica_id="y", seq=0)
    begun.go_live([*history, (4, second)], 0)
    assert len(stage.publisher.asked) == 1
    assert begun.state.phase is Phase.RUNNING


async def test_client_that_reads_too_slowly_is_cut(stage: Stage) -> None:
    """What a client has not read is bounded; beyond that its stream ends with a reason."""
    reply_stream = stage.follow()
    for seq in range(20):
        stage.hear(reply_stream, chunk(seq))
    assert reply_stream.problem is not None
    assert reply_stream.problem.code == "client_too_slow"
    assert len(await reply_stream.take(0)) == 16


async def test_one_large_record_counts_by_its_bytes(stage: Stage) -> None:
    """Few records can be as much as many."""
    reply_stream = stage.follow()
    reply_stream.hear(1, chunk(0), 0, size_bytes=20_000)
    assert reply_stream.problem is None
    reply_stream.hear(2, chunk(1), 0, size_bytes=20_000)
    assert reply_stream.problem is not None
    assert reply_stream.problem.code == "client_too_slow"


async def test_client_that_reads_on_has_all_its_room_again(stage: Stage) -> None:
    """Only what was not read counts."""
    reply_stream = stage.follow()
    for seq in range(64):
        stage.hear(reply_stream, chunk(seq))
        if seq % 16 == 15:
            assert len(await reply_stream.take(0)) == 16
    assert reply_stream.problem is None


async def test_history_is_no_lag(stage: Stage) -> None:
    """A stream of any length can be taken up again: what happened before the client
    came does not count, what comes while it does not read does.
    """
    reply_stream = stage.follow(replaying=True)
    reply_stream.go_live([(seq + 1, chunk(seq)) for seq in range(100)], 0)
    stage.offset = 100
    assert reply_stream.problem is None
    assert len(await reply_stream.take(0)) == 100
    for seq in range(100, 120):
        stage.hear(reply_stream, chunk(seq))
    assert reply_stream.problem is not None


async def test_what_comes_before_the_history_is_bounded(stage: Stage) -> None:
    """A history that takes too long to read ends in a 503, not in memory."""
    reply_stream = stage.follow(replaying=True)
    for seq in range(20):
        stage.hear(reply_stream, chunk(seq))
    assert reply_stream.problem is not None
    assert reply_stream.problem.status == 503
