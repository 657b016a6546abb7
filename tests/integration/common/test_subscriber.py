"""Consumers of events on a real Kafka: redelivery, poison, rebalances, a broker that
dies.
"""

import asyncio
import dataclasses
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from schemas.topics import FEEDBACK, Topic, dead_letter_name
from services.common.bus import Producer, Tail
from services.common.bus.administration.admin import admin, committed_offsets
from services.common.bus.administration.inspection import partition_counts
from services.common.bus.consumers.consumer import Start
from services.common.bus.dead_letters.dead_letter import DeadLetters
from services.common.bus.subscriber import Attempts, Event, Subscriber, Subscription
from services.common.errors import BusUnavailableError, PermanentError
from services.common.process.health import HealthState
from services.common.retry import Pauses
from tests.support.analyzer.recording import eventually
from tests.support.bus.subscriber_fakes import record
from tests.support.kafka import Broker, OwnBroker

pytestmark = pytest.mark.timeout(180)
_PARTITIONS = 3


@dataclass
class Bench:
    """A topic of the test's own, with its dead letters, and consumers of it."""

    url: str
    topic: Topic
    group: str = field(default_factory=lambda: f"group-{uuid4().hex[:8]}")
    subscribers: list[Subscriber] = field(default_factory=list)
    producer: Producer | None = None

    async def send(self, count: int, *, first: int = 0, headers: Any = None) -> None:
        """Sends ratings, over the partitions in turn."""
        driver = AIOKafkaProducer(bootstrap_servers=self.url)
        await driver.start()
        for number in range(first, first + count):
            one = record(number, headers=headers)
            await driver.send(
                self.topic.name, one.value, partition=number % _PARTITIONS, headers=list(one.headers)
            )
        await driver.stop()

    async def subscriber(self, handler: Any, **options: Any) -> Subscriber:
        """A consumer that runs."""
        if self.producer is None:
            self.producer = Producer(self.url, self.group)
            await self.producer.start()
        made = Subscriber(
            self.url,
            f"{self.group}-{len(self.subscribers)}",
            dead_letters=DeadLetters(self.producer, self.group),
            health=HealthState(),
            session_timeout_s=3.0,
        )
        made.add(Subscription(self.topic, handler, self.group, **options))
        await made.start()
        self.subscribers.append(made)
        return made

    async def committed(self) -> int:
        """How many offsets the group has committed."""
        return sum(one.offset for one in (await committed_offsets(self.url, self.group)).values())

    async def all_committed(self, count: int) -> None:
        """Waits until the group has committed so many."""

        async def done() -> bool:
            return await self.committed() == count

        await eventually(done, within_s=60, what=f"{count} committed")

    async def dead_letters(self) -> list[int]:
        """The offsets of what was set aside."""
        tail = Tail(self.url, "letters", topic=dead_letter_name(self.topic.name))
        await tail.start(None, Start.BEGINNING)
        found = [one async for one in _all(tail)]
        await tail.close()
        return [int(orjson.loads(one.value)["offset"]) for one in found]


async def _all(tail: Tail) -> AsyncIterator[Any]:
    while batch := await tail.poll(2.0):
        for one in batch:
            yield one


@pytest.fixture
async def bench(kafka: Broker) -> AsyncIterator[Bench]:
    """A bench on the session's broker."""
    made = await _bench(kafka.bootstrap)
    yield made
    for one in made.subscribers:
        await one.close()
    if made.producer is not None:
        await made.producer.close()


async def _bench(url: str) -> Bench:
    topic = dataclasses.replace(FEEDBACK, name=f"test.{uuid4().hex[:8]}.v1")
    async with admin(url) as client:
        await client.create_topics(
            [NewTopic(name, _PARTITIONS, 1) for name in (topic.name, dead_letter_name(topic.name))]
        )
    return Bench(url, topic)


@dataclass
class Notes:
    """A handler that notes what it was given."""

    seen: list[tuple[int, int]] = field(default_factory=list)
    poison: frozenset[int] = frozenset()
    calls: int = 0
    hold: asyncio.Event | None = None
    holding: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, events: Sequence[Event[Any]]) -> None:
        """Notes them.

        Raises:
            PermanentError: a poisonous one is among them.
        """
        self.calls += 1
        if self.hold is not None:
            self.holding.set()
            await self.hold.wait()
        if bad := [one for one in events if int(one.message.feedback_id) in self.poison]:
            raise PermanentError(f"{len(bad)} cannot be used")
        self.seen += [(one.record.partition, one.record.offset) for one in events]


async def test_poison_goes_to_the_dead_letters_and_its_neighbours_proceed(bench: Bench) -> None:
    """All else is handled once, in the order of its partition, and everything is
    committed.
    """
    notes = Notes(poison=frozenset({31, 32, 77}))
    await bench.subscriber(notes)
    await bench.send(120)
    await bench.all_committed(120)
    assert len(notes.seen) == len(set(notes.seen)) == 117
    for partition in range(_PARTITIONS):
        offsets = [offset for place, offset in notes.seen if place == partition]
        assert offsets == sorted(offsets)
    assert sorted(await bench.dead_letters()) == sorted(number // _PARTITIONS for number in (31, 32, 77))


async def test_event_that_always_fails_is_set_aside_after_bounded_attempts(bench: Bench) -> None:
    """A handler's bug on one event is no hot loop."""
    calls = 0

    async def buggy(events: Sequence[Event[Any]]) -> None:
        nonlocal calls
        calls += 1
        raise ValueError("a bug")

    await bench.subscriber(buggy, attempts=Attempts(3, Pauses(first_s=0.01)))
    await bench.send(1)
    await bench.all_committed(1)
    assert calls == 3
    assert await bench.dead_letters() == [0]


async def test_headers_that_are_not_utf8_cost_one_record_and_not_its_batch(bench: Bench) -> None:
    """FastStream's own parser would read past the batch: its events would be lost."""
    await bench.send(30)
    await bench.send(1, first=30, headers=[("ce_id", b"\xff\xfe"), ("other", b"\x80")])
    await bench.send(29, first=31)
    notes = Notes()
    await bench.subscriber(notes)
    await bench.all_committed(60)
    assert len(set(notes.seen)) == 59
    assert await bench.dead_letters() == [10]


async def test_rebalance_in_the_middle_of_a_batch_loses_nothing(bench: Bench) -> None:
    """A member joins while another's handler is busy: what that one did not commit is
    given to whoever owns it then.
    """
    first, second = Notes(hold=asyncio.Event()), Notes()
    await bench.send(60)
    await bench.subscriber(first, batch=10)
    await asyncio.wait_for(first.holding.wait(), 30)
    await bench.subscriber(second, batch=10)
    await eventually(lambda: _true(bool(second.seen)), within_s=60, what="the second has its share")
    await bench.send(60, first=60)
    assert first.hold is not None
    first.hold.set()
    await bench.all_committed(120)
    assert {*first.seen, *second.seen} == {(n % 3, n // 3) for n in range(120)}


async def test_drain_finishes_the_batch_commits_it_and_leaves(bench: Bench) -> None:
    """A successor goes on at once, and is given nothing again."""
    first, second = Notes(hold=asyncio.Event()), Notes()
    await bench.send(90)
    leaving = await bench.subscriber(first, batch=10)
    await asyncio.wait_for(first.holding.wait(), 30)
    draining = asyncio.create_task(leaving.drain())
    assert first.hold is not None
    asyncio.get_running_loop().call_later(0.2, first.hold.set)
    await asyncio.wait_for(draining, 30)
    assert len(first.seen) == await bench.committed() > 0
    await bench.subscriber(second)
    await bench.all_committed(90)
    assert not set(first.seen) & set(second.seen)
    assert len(first.seen) + len(second.seen) == 90


async def test_topic_that_is_not_there_is_not_created_by_asking(kafka: Broker) -> None:
    """It would have one partition for ever; the message says what creates it."""
    topic = dataclasses.replace(FEEDBACK, name=f"test.{uuid4().hex[:8]}.missing.v1")
    subscriber = Subscriber(
        kafka.bootstrap,
        "x",
        dead_letters=DeadLetters(Producer(kafka.bootstrap, "x"), "x"),
        health=HealthState(),
        start_timeout_s=0.5,
    )
    subscriber.add(Subscription(topic, Notes(), "x"))
    with pytest.raises(BusUnavailableError, match="tocsin topics"):
        await subscriber.start()
    await subscriber.close()
    assert topic.name not in await partition_counts(kafka.bootstrap)


async def test_process_killed_between_effect_and_commit_does_it_again_and_loses_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    """Kill -9 after the effect, five times: each event has its effect at least once, and
    only what was not committed has it again.
    """
    effects = tmp_path / "effects"
    effects.touch()
    await bench.send(200)
    arguments = [bench.url, bench.topic.name, bench.group, str(effects)]
    again = 0
    for kill_after in (7, 25, 60, 1, 40):
        before = await bench.committed()
        child = await _child(*arguments, str(kill_after))
        assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL
        again += len(effects.read_text().split("\n")) - 1 - before
    child = await _child(*arguments, "0")
    await bench.all_committed(200)
    child.terminate()
    assert await asyncio.wait_for(child.wait(), 30) == 0
    lines = effects.read_text().split()
    done = list(zip(lines[::2], lines[1::2], strict=True))
    assert {(int(place), int(offset)) for place, offset in done} == {(n % 3, n // 3) for n in range(200)}
    assert 200 < len(done) <= 200 + 5 * 40


async def test_broker_that_dies_is_waited_for(own_broker: OwnBroker) -> None:
    """Started before the broker is there, and through a kill -9 of it."""
    bench = await _bench(own_broker.bootstrap)
    notes = Notes()
    await bench.send(30)
    own_broker.kill()
    starting = asyncio.create_task(bench.subscriber(notes))
    await asyncio.to_thread(own_broker.restart)
    subscriber = await asyncio.wait_for(starting, 60)
    running = asyncio.create_task(subscriber.run())
    await bench.all_committed(30)
    own_broker.kill()
    await asyncio.to_thread(own_broker.restart)
    await bench.send(30, first=30)
    await bench.all_committed(60)
    assert set(notes.seen) == {(n % 3, n // 3) for n in range(60)}
    await subscriber.drain()
    await asyncio.wait_for(running, 10)
    assert bench.producer is not None
    await bench.producer.close()


def test_asyncapi_of_faststream_names_topic_and_message(kafka: Broker) -> None:
    """Its generator sees what is consumed."""
    subscriber = Subscriber(
        kafka.bootstrap,
        "x",
        dead_letters=DeadLetters(Producer(kafka.bootstrap, "x"), "x"),
        health=HealthState(),
    )
    subscriber.add(Subscription(FEEDBACK, Notes(), "x"))
    document = subscriber.asyncapi()
    assert [one["address"] for one in document["channels"].values()] == [FEEDBACK.name]
    assert "FeedbackSubmitted" in document["components"]["schemas"]


async def _child(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.bus.subscriber_child", *arguments, stderr=subprocess.DEVNULL
    )


async def _true(value: bool) -> bool:  # noqa: FBT001
    return value
