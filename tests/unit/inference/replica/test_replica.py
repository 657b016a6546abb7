"""A replica beside a bus in memory: what is assigned, cancelled or unreadable frees its
slot and ends.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from schemas.base import Message
from schemas.errors import ErrorCode
from schemas.inference import (
    LogPosition,
    Outcome,
    ReplicaBeat,
    ReplyChunk,
    RequestFinished,
    Sampling,
    WorkAssigned,
    WorkCancelled,
)
from schemas.limits import CHUNK_BYTES, MAX_ANSWER_BYTES, MAX_RECORD_BYTES
from services.common.bus import Outgoing
from services.common.clock import utc_now
from services.common.errors import BusUnavailableError, RecordTooLargeError
from services.common.requests.model_catalogue import ModelConfig
from services.inference.engines.base import GenerationRequest, Piece, TokenLogprob, Usage
from services.inference.replica.replica import Replica
from tests.support.bus.records import record
from tests.support.inference.dispatch_world import request

MODEL = ModelConfig.model_validate({"name": "m", "engine": "scripted", "slots": 2, "context_length": 4096})


@dataclass
class FakeProducer:
    """Keeps what is sent; refuses what Kafka would."""

    sent: list[Message] = field(default_factory=list)
    away: bool = False
    chunk_sent: asyncio.Event = field(default_factory=asyncio.Event)

    async def send_soon(self, outgoing: Outgoing) -> None:
        """Takes a record."""
        if self.away and isinstance(outgoing.value, ReplyChunk):
            raise BusUnavailableError("the buffer is full")
        if len(outgoing.value.encode()) > MAX_RECORD_BYTES:
            raise RecordTooLargeError("too large")
        self.sent.append(outgoing.value)
        if isinstance(outgoing.value, ReplyChunk):
            self.chunk_sent.set()

    def of(self, kind: type) -> list:  # type: ignore[type-arg]
        """The messages of one kind."""
        return [one for one in self.sent if isinstance(one, kind)]


@dataclass
class FakeEngine:
    """Gives its pieces, then waits for ever if asked to."""

    pieces: list[Piece | Usage]
    wait: bool = False
    began: int = 0
    closed: int = 0

    async def generate(self, _request: GenerationRequest) -> AsyncGenerator[Piece | Usage, None]:
        """The pieces."""
        self.began += 1
        try:
            for piece in self.pieces:
                yield piece
            if self.wait:
                await asyncio.Event().wait()
        finally:
            self.closed += 1


def replica_of(engine: FakeEngine) -> tuple[Replica, FakeProducer]:
    """A replica that has not connected."""
    replica, producer = Replica("nowhere:1", MODEL, engine, replica_id="m#1"), FakeProducer()  # type: ignore[arg-type]
    replica._out = producer  # type: ignore[assignment]
    return replica, producer


def assigned(number: int = 1, **fields: object) -> WorkAssigned:
    """An assignment."""
    origin = LogPosition(topic="t", partition=0, offset=0)
    soon = utc_now() + timedelta(seconds=60)
    asked = request(number, **fields).model_copy(update={"deadline": soon})
    return WorkAssigned(replica_id="m#1", epoch=1, origin=origin, request=asked)


def cancelled(number: int = 1) -> WorkCancelled:
    """Its cancellation."""
    return WorkCancelled(replica_id="m#1", epoch=1, request_id=f"r{number}", attempt=1, reason="test")


async def take(replica: Replica, *work: Message) -> None:
    """Records that one poll brings."""
    for one in work:
        await replica._on_work(record(one.encode(), key=b"m#1"))


async def until_idle(replica: Replica) -> None:
    """Until nothing runs."""
    async with asyncio.timeout(30):
        while replica._running:
            await asyncio.wait(list(replica._running.values()))
            await asyncio.sleep(0)  # callbacks


@pytest.mark.parametrize("others", [0, 3])
async def test_assignment_and_its_cancel_in_one_poll_free_the_slot_and_end_once(others: int) -> None:
    """The attempt is cancelled before its first step: the engine never hears of it."""
    engine = FakeEngine([], wait=True)
    replica, producer = replica_of(engine)
    work = [one for number in range(others + 1) for one in (assigned(number), cancelled(number))]
    await take(replica, *work)
    await until_idle(replica)
    ends = producer.of(RequestFinished)
    assert [end.end.outcome for end in ends] == [Outcome.CANCELLED] * (others + 1)
    assert engine.began == 0
    await replica._send_beat()
    assert producer.of(ReplicaBeat)[-1].running == ()


async def test_cancel_while_generating_stops_the_engine_and_ends_once() -> None:
    """The usual case; what was generated is told."""
    engine = FakeEngine([Piece(0, text="hello", tokens=1)], wait=True)
    replica, producer = replica_of(engine)
    await take(replica, assigned(stream=True))
    await asyncio.wait_for(producer.chunk_sent.wait(), 5)
    await replica._send_beat()
    assert producer.of(ReplicaBeat)[-1].running[0].tokens == 1
    await take(replica, cancelled(), cancelled())
    await until_idle(replica)
    (end,) = producer.of(RequestFinished)
    assert (end.end.outcome, end.choices[0].text, engine.closed) == (Outcome.CANCELLED, "hello", 1)


async def test_cancel_while_the_end_is_told_does_not_swallow_it() -> None:
    """An end that is on its way arrives."""
    replica, producer = replica_of(FakeEngine([Piece(0, text="x", tokens=1, finish_reason="stop")]))
    telling = asyncio.Event()

    class Slow(FakeProducer):
        async def send_soon(self, outgoing: Outgoing) -> None:
            if isinstance(outgoing.value, ReplyChunk) and outgoing.value.end is not None:
                telling.set()
                for _ in range(5):
                    await asyncio.sleep(0)
            await super().send_soon(outgoing)

    slow = Slow(producer.sent)
    replica._out = slow  # type: ignore[assignment]
    await take(replica, assigned())
    await telling.wait()
    await take(replica, cancelled())
    await until_idle(replica)
    assert [end.end.outcome for end in producer.of(RequestFinished)] == [Outcome.COMPLETED]


async def test_bus_takes_no_chunk_the_dispatcher_hears_the_end_all_the_same() -> None:
    """Whoever follows sees a gap and is then told the whole."""
    replica, producer = replica_of(FakeEngine([Piece(0, text="x", tokens=1, finish_reason="stop")]))
    producer.away = True
    await take(replica, assigned(stream=True))
    await until_idle(replica)
    assert len(producer.of(RequestFinished)) == 1


@pytest.mark.parametrize("text", ["a" * 1000, "\x00" * 1000, '"' * 1000, "é" * 1000])
async def test_answer_beyond_the_budget_ends_with_an_error(text: str) -> None:
    """However its text is encoded, everything that is told fits."""
    replica, producer = replica_of(FakeEngine([Piece(0, text=text, tokens=250)] * 1200))
    await take(replica, assigned(stream=True, sampling=Sampling(max_tokens=10**6)))
    await until_idle(replica)
    (end,) = producer.of(RequestFinished)
    assert (end.end.outcome, end.end.error.code, end.end.retryable) == (
        Outcome.FAILED,
        ErrorCode.ANSWER_TOO_LARGE,
        False,
    )
    assert MAX_ANSWER_BYTES - 10_000 < len(end.encode()) < MAX_ANSWER_BYTES + 10_000
    assert max(len(one.encode()) for one in producer.of(ReplyChunk)) < CHUNK_BYTES + 10_000


async def test_logprobs_that_gather_are_sent_before_they_grow_too_large() -> None:
    """Twenty alternatives a token make a kilobyte of each."""
    top = tuple((f"alternative-{number}", -1.0) for number in range(20))
    pieces = [Piece(0, text="x", tokens=1, logprobs=(TokenLogprob("x", -0.1, top),))] * 2000
    replica, producer = replica_of(FakeEngine([*pieces, Piece(0, text="", finish_reason="stop")]))
    await take(replica, assigned(stream=False))
    await until_idle(replica)
    assert [end.end.outcome for end in producer.of(RequestFinished)] == [Outcome.COMPLETED]
    chunks = producer.of(ReplyChunk)
    assert max(len(one.encode()) for one in chunks) < CHUNK_BYTES + 10_000
    assert [one.seq for one in chunks] == list(range(len(chunks)))


async def test_half_a_surrogate_pair_is_replaced() -> None:
    """No JSON can carry it; the answer goes on."""
    replica, producer = replica_of(FakeEngine([Piece(0, text="a\ud800b", tokens=1, finish_reason="stop")]))
    await take(replica, assigned())
    await until_idle(replica)
    (end,) = producer.of(RequestFinished)
    assert (end.end.outcome, end.choices[0].text) == (Outcome.COMPLETED, "a?b")


async def test_work_of_a_newer_version_is_passed_over_and_an_unreadable_assignment_ends() -> None:
    """Unknown kinds ask for nothing; an assignment that cannot be read fails by its id."""
    replica, producer = replica_of(FakeEngine([]))
    for value in (b'{"kind":"paused","replica_id":"m#1"}', b"\xff", b"[]", None):
        await replica._on_work(record(value, key=b"m#1"))
    assert producer.sent == []
    broken = b'{"kind":"assigned","epoch":"?","request":{"request_id":"r9","attempt":3,"lane":"new"}}'
    await replica._on_work(record(broken, key=b"m#1"))
    (end,) = producer.of(RequestFinished)
    assert (end.request_id, end.attempt, end.end.outcome) == ("r9", 3, Outcome.FAILED)
