"""What is committed, when, and what is told of it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import TopicPartition as DriverPartition
from aiokafka.errors import CommitFailedError, KafkaConnectionError
from aiokafka.structs import OffsetAndMetadata
from prometheus_client import REGISTRY

from schemas.topics import FEEDBACK
from services.common.bus.coordinates import CommittedOffset, TopicPartition
from services.common.bus.dead_letters.dead_letter import InvalidShare
from services.common.bus.subscriber.delivery import Attempts, Delivery
from services.common.bus.subscriber.subscription import Consumption, Subscription
from services.common.errors import ConfigError, StoreUnavailableError
from services.common.process.health import HealthState
from tests.support.bus.subscriber_fakes import FakeDeadLetters, FakeHandler, record

_PLACES = {DriverPartition(FEEDBACK.name, number) for number in range(2)}


@dataclass
class FakeDriver:
    """Keeps what is committed; fails as often as told."""

    errors: list[Exception] = field(default_factory=list)
    committed: dict[tuple[str, int], int] = field(default_factory=dict)
    commits: int = 0
    end: int | None = None
    sought: list[tuple[int, int]] = field(default_factory=list)
    notes: dict[int, str] = field(default_factory=dict)

    async def commit(self, offsets: dict[DriverPartition, OffsetAndMetadata]) -> None:
        """Commits, or raises the next error."""
        self.commits += 1
        if self.errors:
            raise self.errors.pop(0)
        self.committed |= {(one.topic, one.partition): found.offset for one, found in offsets.items()}
        self.notes |= {one.partition: found.metadata for one, found in offsets.items()}

    def seek(self, partition: DriverPartition, offset: int) -> None:
        """Notes it."""
        self.sought.append((partition.partition, offset))

    async def position(self, partition: DriverPartition) -> int:
        """Always the beginning."""
        del partition
        return 0

    def highwater(self, partition: DriverPartition) -> int | None:
        """Where the first partition ends."""
        return self.end if partition.partition == 0 else None


def _consumption(driver: FakeDriver, group: str, **options: Any) -> tuple[Consumption, list[Exception]]:
    failures: list[Exception] = []
    subscription = Subscription(FEEDBACK, FakeHandler(), group, **options)

    async def sleep(seconds: float) -> None:
        del seconds

    delivery = Delivery(
        FEEDBACK, group, FakeDeadLetters(), HealthState(), InvalidShare(1.0), Attempts(2), sleep=sleep
    )
    made = Consumption(subscription, delivery, lambda: datetime(2026, 1, 1, tzinfo=UTC), failures.append)
    made.driver = lambda: driver
    return made, failures


def _metric(name: str, group: str) -> float:
    return REGISTRY.get_sample_value(name, {"group": group, "topic": FEEDBACK.name}) or 0.0


async def test_commit_is_of_what_was_handled_in_each_partition_and_of_nothing_else() -> None:
    """Not the consumer's position: that is already further."""
    driver = FakeDriver()
    consumption, _ = _consumption(driver, "one")
    await consumption.on_partitions_assigned(_PLACES)
    await consumption.consume([record(4), record(5), record(9, partition=1)], FakeHandler())
    assert driver.committed == {(FEEDBACK.name, 0): 6, (FEEDBACK.name, 1): 10}


async def test_commit_that_fails_is_tried_again_without_another_batch() -> None:
    """The effect is there: only the note of it is missing, and is counted."""
    driver = FakeDriver([KafkaConnectionError(), CommitFailedError()])
    consumption, failures = _consumption(driver, "two")
    await consumption.on_partitions_assigned(_PLACES)
    await consumption.consume([record(0)], FakeHandler())
    await consumption.observe()
    assert driver.committed == {}
    await consumption.observe()
    assert driver.committed == {(FEEDBACK.name, 0): 1}
    await consumption.observe()
    assert driver.commits == 3
    assert failures == []
    assert _metric("tocsin_consumer_commit_failures_total", "two") == 2


async def test_partition_that_was_taken_away_is_not_committed_any_more() -> None:
    """Neither now nor later, though it comes back: its owner meanwhile was further."""
    driver = FakeDriver([KafkaConnectionError()])
    consumption, _ = _consumption(driver, "three")
    await consumption.on_partitions_assigned(_PLACES)
    await consumption.consume([record(0)], FakeHandler())
    await consumption.on_partitions_revoked(_PLACES)
    await consumption.on_partitions_assigned(_PLACES)
    await consumption.observe()
    assert driver.committed == {}


async def test_batch_of_an_earlier_assignment_is_left_to_whoever_reads_it_again() -> None:
    """Read before a rebalance, given after it."""
    driver, handler = FakeDriver(), FakeHandler()
    consumption, _ = _consumption(driver, "four")
    await consumption.consume([record(0)], handler)
    await consumption.on_partitions_assigned(_PLACES)

    async def lose() -> None:
        await consumption.on_partitions_assigned(_PLACES)

    handler.before = lose
    await consumption.consume([record(1)], handler)
    assert driver.committed == {}
    assert handler.handled == [1]


async def test_failure_that_halts_is_told_and_nothing_more_is_given_or_committed() -> None:
    """FastStream would swallow it and read on."""
    driver = FakeDriver()
    consumption, failures = _consumption(driver, "five")
    await consumption.on_partitions_assigned(_PLACES)
    await consumption.consume([record(0)], FakeHandler({0: (ConfigError("set it"), 1)}))
    after = FakeHandler()
    await consumption.consume([record(1)], after)
    assert [str(one) for one in failures] == ["set it"]
    assert after.handled == []
    assert driver.committed == {}


async def test_lag_and_age_are_told() -> None:
    """How many are left, and how old the oldest of the batch under way is."""
    driver = FakeDriver(end=10)
    consumption, _ = _consumption(driver, "six")
    await consumption.on_partitions_assigned(_PLACES)
    ages: list[float] = []

    async def look() -> None:
        await consumption.observe()
        ages.append(_metric("tocsin_consumer_age_seconds", "six"))

    await consumption.observe()
    assert _metric("tocsin_consumer_lag", "six") == 10
    await consumption.consume([record(0), record(1)], FakeHandler(before=look))
    await consumption.observe()
    assert _metric("tocsin_consumer_lag", "six") == 8
    assert ages == [datetime(2026, 1, 1, tzinfo=UTC).timestamp()]
    assert _metric("tocsin_consumer_age_seconds", "six") == 0


async def test_effect_that_is_behind_the_group_makes_reading_go_back_once() -> None:
    """A store that was restored from a backup is filled again; the records that were
    read too far are neither given nor committed.
    """
    driver, away = FakeDriver(), [StoreUnavailableError("away")]

    async def begin(place: TopicPartition) -> int:
        if away:
            raise away.pop()
        return 3 if place.partition == 0 else 100

    consumption, _ = _consumption(driver, "seven", begin=begin)
    consumption.committed = _committed({0: CommittedOffset(7, "7"), 1: CommittedOffset(50, "50")})
    await consumption.on_partitions_assigned(_PLACES)
    handler = FakeHandler()
    await consumption.consume([record(7), record(8), record(50, partition=1)], handler)
    assert driver.sought == [(0, 3)]
    assert handler.handled == [50]
    assert driver.committed == {(FEEDBACK.name, 1): 51}
    await consumption.consume([record(5)], handler)
    assert driver.sought == [(0, 3)]
    assert handler.handled == [50, 5]


@pytest.mark.parametrize(
    ("committed", "goes_back"),
    [
        (None, False),
        (CommittedOffset(3, ""), False),  # 3 to 6 are markers: nothing was committed of them
        (CommittedOffset(7, "3"), False),  # 3 to 6 were dead letters when that was committed
        (CommittedOffset(7, "7"), True),
        (CommittedOffset(7, "4"), True),
        (CommittedOffset(7, ""), True),  # committed by an earlier release
    ],
)
async def test_hole_before_the_first_record_is_no_reason_to_go_back(
    committed: CommittedOffset | None,
    goes_back: bool,  # noqa: FBT001 (a parameter of the test)
) -> None:
    """Markers of transactions are no records, dead letters have no effect: only what had
    its effect and has it no more is read again.
    """

    async def begin(place: TopicPartition) -> int:
        del place
        return 3

    driver, handler = FakeDriver(), FakeHandler()
    consumption, failures = _consumption(driver, "eight", begin=begin)
    consumption.committed = _committed({0: committed})
    await consumption.on_partitions_assigned(_PLACES)
    await consumption.consume([record(7)], handler)
    assert (bool(driver.sought), handler.handled) == (goes_back, [] if goes_back else [7])
    assert driver.notes == ({} if goes_back else {0: "3"})
    assert failures == []


def _committed(found: dict[int, CommittedOffset | None]) -> Any:
    async def ask(place: TopicPartition) -> CommittedOffset | None:
        return found.get(place.partition)

    return ask
