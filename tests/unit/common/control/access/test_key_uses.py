"""When keys were last used, as processes tell each other."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from schemas.events.keys import KeyUsed
from schemas.topics import KEY_USES
from services.common.bus import Outgoing
from services.common.control.access.key_uses import KeyUses
from services.common.control.access.last_uses import LastUses
from services.common.control.principal import Principal
from services.common.errors import BusUnavailableError
from services.common.process import metrics
from tests.support.bus.records import record
from tests.unit.common.control.entries import NOW


@dataclass
class FakeBus:
    """Takes records, unless it is away."""

    taken: list[Outgoing] = field(default_factory=list)
    away: bool = False

    async def send(self, outgoing: Outgoing) -> None:
        if self.away:
            raise BusUnavailableError("away")
        self.taken.append(outgoing)


def caller(key_id: str) -> Principal:
    """Whoever has this key."""
    return Principal("acme", "jo", key_id, "n", ())


def told(bus: FakeBus) -> list[tuple[str, datetime]]:
    """The keys of which the bus was told, and when they were used."""
    uses = [one.value for one in bus.taken]
    return [(use.key_id, use.last_used_at) for use in uses if isinstance(use, KeyUsed)]


async def test_use_is_told_once_in_a_minute_however_often_the_key_is_used() -> None:
    """Under the key's id, so that the topic keeps one record of each."""
    bus = FakeBus()
    uses = KeyUses(bus.send)
    for second in (0, 1, 59, 60, 61):
        uses.note(caller("aaaaaaaa"), NOW + timedelta(seconds=second))
        uses.note(caller(""), NOW)  # an identity provider's token has no key
        await uses.flush()
    assert told(bus) == [("aaaaaaaa", NOW), ("aaaaaaaa", NOW + timedelta(seconds=60))]
    assert {(one.topic, one.key, one.partition) for one in bus.taken} == {(KEY_USES.name, "aaaaaaaa", 0)}


async def test_uses_that_kafka_does_not_take_are_counted_and_the_next_ones_are_told() -> None:
    """Nothing piles up while the bus is away."""
    bus = FakeBus(away=True)
    uses = KeyUses(bus.send, capacity=1000)
    before = metrics.AUTH_USES_UNTOLD._value.get()
    for number in range(5000):
        uses.note(caller(f"{number:08d}"), NOW)
    assert len(uses._told) == 1000
    await uses.flush()
    assert metrics.AUTH_USES_UNTOLD._value.get() == before + 5000
    bus.away = False
    uses.note(caller("00004999"), NOW + timedelta(seconds=60))
    await uses.flush()
    assert told(bus) == [("00004999", NOW + timedelta(seconds=60))]


def test_latest_use_counts_whatever_came_last_and_the_unreadable_is_passed_over() -> None:
    """Processes' clocks differ, and a newer version may tell more."""
    uses = LastUses("", "test", capacity=2)
    values = [
        KeyUsed(key_id="a", last_used_at=NOW + timedelta(seconds=60)).encode(),
        KeyUsed(key_id="a", last_used_at=NOW).encode(),
        b"{",
        b'{"key_id":"a","last_used_at":"2026-11-27T23:00:00"}',
        b'{"key_id":"b","last_used_at":"2026-11-27T12:00:00Z","more":1}',
    ]
    uses.take(record(value, offset=at) for at, value in enumerate(values))
    assert uses.all() == {"a": NOW + timedelta(seconds=60), "b": NOW}
    assert uses.of("c") is None
    uses.take([record(KeyUsed(key_id="c", last_used_at=NOW).encode(), offset=9)])
    assert set(uses.all()) == {"b", "c"}


def test_use_of_an_erased_owners_key_is_forgotten() -> None:
    """By the empty record that the erasure leaves, which is no fault of a producer."""
    uses = LastUses("", "test")
    before = metrics.BUS_SKIPPED.labels("keys.used.v1", "unreadable")._value.get()
    uses.take([record(KeyUsed(key_id=one, last_used_at=NOW).encode(), offset=0) for one in "ab"])
    uses.take([record(None, key=b"a", offset=2)])
    assert set(uses.all()) == {"b"}
    assert metrics.BUS_SKIPPED.labels("keys.used.v1", "unreadable")._value.get() == before
