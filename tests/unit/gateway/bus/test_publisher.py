"""What becomes of a request that Kafka takes, refuses, or says nothing about."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from schemas.inference import CancelRequested, InferenceRequested, Lane, ReplyTo
from schemas.limits import MAX_REQUEST_BYTES
from services.common.bus import Acknowledged, FencedError, Outgoing, TopicPartition
from services.common.errors import BusUnavailableError, RecordTooLargeError
from services.common.http.problems import ProblemError
from services.common.process import metrics
from services.common.process.health import HealthState
from services.gateway.bus.bus_clock import BusClock
from services.gateway.bus.monitor import BusMonitor
from services.gateway.bus.publisher import RequestPublisher
from services.inference.dispatcher.messages import refused_meanwhile

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NOON_MS = int(NOW.timestamp() * 1000)
LANE = TopicPartition("inference.requests.m.interactive.v1", 0)
REQUEST = InferenceRequested(
    request_id="r",
    kind="chat",
    model="m",
    lane=Lane.INTERACTIVE,
    tenant="t",
    key_id="k",
    reply_to=ReplyTo(partition=3, gateway_id="g"),
    requested_at=NOW,
    deadline=NOW + timedelta(seconds=60),
)


@dataclass(frozen=True)
class Ack:
    """Kafka's acknowledgement."""

    topic: str
    partition: int = 0
    offset: int = 7
    timestamp: int = int(NOW.timestamp() * 1000)
    timestamp_type: int = 1


@dataclass
class FakeProducer:
    """Takes records and acknowledges them when the test says so."""

    refusal: Exception | None = None
    sent: list[tuple[Outgoing, "asyncio.Future[Acknowledged]"]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def send_soon(self, record: Outgoing) -> "asyncio.Future[Acknowledged]":
        """Takes a record."""
        if self.refusal is not None:
            raise self.refusal
        future: asyncio.Future[Acknowledged] = asyncio.get_running_loop().create_future()
        self.sent.append((record, future))
        self.news.set()
        return future

    async def until(self, count: int) -> None:
        """Waits until so many records were sent."""
        while len(self.sent) < count:
            self.news.clear()
            await self.news.wait()

    def acknowledge(self, index: int) -> None:
        """Kafka has this record."""
        record, future = self.sent[index]
        future.set_result(Ack(record.topic))

    @property
    def cancels(self) -> list[str]:
        """Why requests were taken back."""
        return [one.value.reason for one, _ in self.sent if isinstance(one.value, CancelRequested)]


@dataclass
class Stage:
    """A publisher that runs, on a bus that is there."""

    publisher: RequestPublisher
    producer: FakeProducer
    begun: bool = False

    async def ask(self) -> object:
        """Publishes the request."""
        return await self.publisher.ask(REQUEST, None, begun=lambda: self.begun)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A publisher whose patience is short."""
    producer = FakeProducer()
    monitor = BusMonitor(None, HealthState(), [])  # type: ignore[arg-type]
    monitor.steady_since = 0.0
    publisher = RequestPublisher(
        producer,  # type: ignore[arg-type]
        monitor,
        BusClock(lambda: NOW - timedelta(days=1), lambda: 5.0),
        ack_timeout_s=0.05,
    )
    running = asyncio.create_task(publisher.run())
    yield Stage(publisher, producer)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_acknowledged_request_has_its_place_and_tells_the_time(stage: Stage) -> None:
    """The broker's clock is learned by the way."""
    asking = asyncio.create_task(stage.ask())
    await stage.producer.until(1)
    stage.producer.acknowledge(0)
    place = await asking
    assert (place.offset, stage.producer.cancels) == (7, [])  # type: ignore[attr-defined]
    assert stage.publisher.bus_clock.now() == NOW


@pytest.mark.parametrize("refusal", [BusUnavailableError("full"), RuntimeError("the driver's")])
async def test_request_that_was_never_sent_was_not_begun_and_is_not_cancelled(
    stage: Stage, refusal: Exception
) -> None:
    """503 says so."""
    stage.producer.refusal = refusal
    with pytest.raises(ProblemError) as caught:
        await stage.ask()
    assert "nothing was begun" in caught.value.problem.message
    assert stage.publisher._queue.empty()


async def test_request_that_kafka_refuses_was_not_begun(stage: Stage) -> None:
    """An error instead of an acknowledgement is a clear answer."""
    asking = asyncio.create_task(stage.ask())
    await stage.producer.until(1)
    stage.producer.sent[0][1].set_exception(RuntimeError("OutOfOrderSequenceNumber"))
    with pytest.raises(ProblemError) as caught:
        await asking
    assert "nothing was begun" in caught.value.problem.message
    assert stage.publisher._queue.empty()


async def test_request_of_unknown_fate_is_said_to_be_and_cancelled_at_once_and_again(stage: Stage) -> None:
    """Without an acknowledgement the answer claims nothing; the cancellation goes out
    before Kafka acknowledges, and once more when it does.
    """
    with pytest.raises(ProblemError) as caught:
        await stage.ask()
    assert caught.value.problem.status == 503
    assert "may have begun" in caught.value.problem.message
    assert "nothing was begun" not in caught.value.problem.message
    await stage.producer.until(2)
    assert stage.producer.cancels == ["not_acknowledged"]
    stage.producer.acknowledge(0)
    await stage.producer.until(3)
    assert stage.producer.cancels == ["not_acknowledged"] * 2


async def test_request_that_is_seen_to_have_begun_is_served(stage: Stage) -> None:
    """A reply tells as much as an acknowledgement."""
    stage.begun = True
    assert await stage.ask() is None
    assert stage.publisher._queue.empty()


async def test_client_that_leaves_before_the_acknowledgement_cancels(stage: Stage) -> None:
    """Nobody is there to be told."""
    asking = asyncio.create_task(stage.ask())
    await stage.producer.until(1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await stage.producer.until(2)
    assert stage.producer.cancels == ["not_acknowledged"]


@pytest.mark.parametrize("refusal", [RecordTooLargeError("too large"), FencedError("fenced")])
async def test_further_attempt_that_never_fits_ends_its_own_stream_and_holds_up_nobody(
    stage: Stage, refusal: Exception
) -> None:
    """What is queued behind it is sent at once."""
    refused: list[BaseException] = []
    heard = asyncio.Event()

    def on_refused(error: BaseException) -> None:
        refused.append(error)
        heard.set()

    acknowledged: list[object] = []
    stage.producer.refusal = refusal
    stage.publisher.ask_again(REQUEST, None, acknowledged.append, on_refused)
    async with asyncio.timeout(5):
        await heard.wait()
        stage.producer.refusal = None
        stage.publisher.ask_again(REQUEST, None, acknowledged.append, on_refused)
        await stage.producer.until(1)
    assert (refused, acknowledged) == ([refusal], [])


async def test_request_too_large_for_the_bus_is_refused_before_it_is_sent(stage: Stage) -> None:
    """413, with nothing begun."""
    large = REQUEST.model_copy(update={"prompt": "x" * MAX_REQUEST_BYTES})
    with pytest.raises(ProblemError) as caught:
        await stage.publisher.ask(large, None, begun=lambda: False)
    assert caught.value.problem.status == 413
    assert stage.producer.sent == []


async def test_record_that_is_refused_is_sent_again_a_few_times(stage: Stage) -> None:
    """A producer that failed for good has been replaced by then; a record that nobody
    takes is counted in the end.
    """
    places: list[object] = []
    stage.publisher.ask_again(REQUEST, None, places.append, places.append)
    stage.publisher.cancel(REQUEST, "asked")
    await stage.producer.until(2)
    for index in (1, 2, 3):
        await stage.producer.until(index + 1)
        stage.producer.sent[index][1].set_exception(RuntimeError("UnknownProducerId"))
    stage.producer.acknowledge(0)
    await asyncio.sleep(0)
    assert stage.producer.cancels == ["asked"] * 3
    assert len(places) == 1


def dated(late_s: float) -> Ack:
    """An acknowledgement that is so much later than noon."""
    return Ack(LANE.topic, timestamp=NOON_MS + int(late_s * 1000))


@pytest.mark.parametrize("late_s", [7.0, 3600.0])
async def test_request_that_is_dated_too_late_is_refused_counted_and_the_clock_learned(
    stage: Stage, late_s: float
) -> None:
    """The dispatcher will not begin it: its client is not kept waiting, and the next one
    is accepted by the clock as it is now.
    """
    by = NOW + timedelta(seconds=6)
    counted = metrics.GATEWAY_ACCEPTED_LATE._value
    before = counted.get()
    late = REQUEST.model_copy(update={"accept_by": by})
    asking = asyncio.create_task(stage.publisher.ask(late, None, begun=lambda: False))
    await stage.producer.until(1)
    stage.producer.sent[0][1].set_result(dated(late_s))
    with pytest.raises(ProblemError) as caught:
        await asking
    assert (caught.value.problem.status, caught.value.problem.code) == (503, "bus_unavailable")
    assert counted.get() == before + 1
    await stage.producer.until(2)
    assert stage.producer.cancels == ["not_acknowledged"]
    latest = stage.publisher.bus_clock.latest_after(LANE, 5)
    assert latest is not None
    assert latest > NOW + timedelta(seconds=late_s)
    assert refused_meanwhile(late, dated(late_s)) is not None  # type: ignore[arg-type]


async def test_request_that_is_dated_in_time_is_let_in(stage: Stage) -> None:
    """Up to the very moment, as the dispatcher sees it."""
    by = NOW + timedelta(seconds=6)
    request = REQUEST.model_copy(update={"accept_by": by})
    asking = asyncio.create_task(stage.publisher.ask(request, None, begun=lambda: False))
    await stage.producer.until(1)
    stage.producer.sent[0][1].set_result(dated(6.0))
    assert await asking is not None
    assert stage.producer.cancels == []
    assert refused_meanwhile(request, dated(6.0)) is None  # type: ignore[arg-type]


async def test_gateway_that_nobody_asks_keeps_learning_its_leaders_time(stage: Stage) -> None:
    """A clock that was set, or another leader, is known within a minute; a bus that is
    away ends nothing.
    """
    stage.producer.refusal = BusUnavailableError("away")
    stage.publisher.probe_every_s = 0.001
    probing = asyncio.create_task(stage.publisher._keep_probing())
    await asyncio.sleep(0.01)
    stage.producer.refusal = None
    async with asyncio.timeout(5):
        await stage.producer.until(2)
    assert {one.topic for one, _ in stage.producer.sent} == {"inference.replies.v1"}
    stage.producer.acknowledge(0)
    await asyncio.sleep(0)
    assert stage.publisher.bus_clock.now() == NOW
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)


def large(tenant: str) -> InferenceRequested:
    """A request of 100 kB."""
    return REQUEST.model_copy(update={"tenant": tenant, "prompt": "x" * 100_000})


async def test_large_requests_go_one_at_a_time_and_tenants_in_turn(stage: Stage) -> None:
    """A flood of them leaves the bus to others' small ones, and a tenant's first large one
    comes before the flood's third.
    """
    stage.publisher.ack_timeout_s = 60.0
    asking = [
        asyncio.create_task(stage.publisher.ask(one, None, begun=lambda: False))
        for one in (large("flood"), large("flood"), large("flood"), large("calm"), REQUEST)
    ]
    await stage.producer.until(2)  # the first, and the small one
    for index, tenant in enumerate(["flood", "t", "flood", "calm", "flood"]):
        await stage.producer.until(index + 1)
        assert stage.producer.sent[index][0].tenant == tenant
        stage.producer.acknowledge(index)
    await asyncio.gather(*asking)


async def test_request_whose_turn_does_not_come_says_nothing_of_the_bus(stage: Stage) -> None:
    """It was not sent, so nothing is taken back, and Kafka is not away for others."""
    holding = asyncio.create_task(stage.publisher.ask(large("flood"), None, begun=lambda: True))
    await stage.producer.until(1)
    with pytest.raises(ProblemError, match="large requests were before") as refused:
        await stage.publisher.ask(large("flood"), None, begun=lambda: False)
    assert (refused.value.problem.status, refused.value.problem.code) == (503, "overloaded")
    assert stage.publisher.bus_monitor.available
    assert not stage.producer.cancels
    await holding
