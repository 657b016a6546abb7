"""A batch on its way to its effect."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.topics import FEEDBACK
from services.common.bus.dead_letters.dead_letter import InvalidShare, TooManyInvalidError
from services.common.bus.subscriber.delivery import Attempts, Delivery
from services.common.errors import BusUnavailableError, ConfigError, PermanentError, StoreUnavailableError
from services.common.process.health import HealthState
from tests.support.bus.subscriber_fakes import FakeDeadLetters, FakeHandler, record

_FOREVER = 10_000


def _delivery(dead_letters: FakeDeadLetters | None = None, **changes: Any) -> Delivery:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    options = {"share": InvalidShare(1.0), "attempts": Attempts(3), "sleep": sleep} | changes
    return Delivery(FEEDBACK, "test", dead_letters or FakeDeadLetters(), HealthState(), **options)


async def _give(
    delivery: Delivery,
    handler: FakeHandler,
    records: Sequence[Any],
    *,
    wanted: Callable[[Any], bool] = lambda _: True,
    hurried: Callable[[], bool] = lambda: False,
) -> list[int]:
    done = await delivery.give(records, handler, wanted=wanted, hurried=hurried)
    return [one.offset for one in done]


async def test_batch_that_works_is_given_once_as_a_whole() -> None:
    """One call for all."""
    handler = FakeHandler()
    assert await _give(_delivery(), handler, [record(n) for n in range(5)]) == [0, 1, 2, 3, 4]
    assert handler.calls == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("error", [PermanentError("bad"), ValueError("bug"), KeyError("x"), AssertionError()])
@pytest.mark.parametrize("poison", [0, 3, 6])
async def test_poison_is_set_aside_and_its_neighbours_proceed_in_order(error: Exception, poison: int) -> None:
    """Whatever a handler raises for one event costs that event only."""
    dead_letters, handler = FakeDeadLetters(), FakeHandler({poison: (error, _FOREVER)})
    done = await _give(_delivery(dead_letters), handler, [record(n) for n in range(7)])
    assert done == list(range(7))
    assert handler.handled == [n for n in range(7) if n != poison]
    assert dead_letters.offsets == [poison]
    assert dead_letters.failures[0].attempts == (1 if isinstance(error, PermanentError) else 3)


async def test_event_that_fails_for_a_while_is_tried_again_and_not_set_aside() -> None:
    """Attempts are bounded, but there are several."""
    dead_letters, handler = FakeDeadLetters(), FakeHandler({1: (ValueError("once"), 3)})
    assert await _give(_delivery(dead_letters), handler, [record(0), record(1)]) == [0, 1]
    assert handler.handled == [0, 1]
    assert dead_letters.failures == []


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), BusUnavailableError("away")])
async def test_dependency_that_is_away_is_waited_for_and_nothing_is_set_aside(error: Exception) -> None:
    """However long: a store that is down must not empty a topic into the dead letters."""
    dead_letters, handler = FakeDeadLetters(), FakeHandler({0: (error, 200)})
    delivery = _delivery(dead_letters)
    assert await _give(delivery, handler, [record(0), record(1)]) == [0, 1]
    assert len(handler.calls) == 201
    assert dead_letters.failures == []
    assert delivery.health.describe()["dependencies"]["store"]["ok"]


async def test_dependency_that_is_away_is_not_waited_for_in_a_hurry() -> None:
    """A process that stops leaves what it could not do, and commits none of it."""
    handler = FakeHandler({2: (StoreUnavailableError("away"), _FOREVER)})
    delivery = _delivery()
    assert await _give(delivery, handler, [record(2)], hurried=lambda: True) == []
    assert not delivery.health.describe()["dependencies"]["store"]["ok"]


async def test_dead_letters_that_are_away_are_waited_for() -> None:
    """The poison is not passed over meanwhile."""
    dead_letters = FakeDeadLetters([BusUnavailableError("away")] * 4)
    handler = FakeHandler({0: (PermanentError("bad"), _FOREVER)})
    assert await _give(_delivery(dead_letters), handler, [record(0)]) == [0]
    assert dead_letters.offsets == [0]


@pytest.mark.parametrize(
    "bad",
    [
        record(1, value=None),
        record(1, value=b"\xff\xfe{"),
        record(1, value=b"[]"),
        record(1, headers=[]),
        record(1, headers=[("ce_id", b"\xff"), ("x", None)]),
    ],
    ids=["no value", "not JSON", "a list", "no envelope", "headers in another encoding"],
)
async def test_record_that_cannot_be_read_is_set_aside_at_once(bad: Any) -> None:
    """It never reaches the handler; those before it do, before it is set aside."""
    dead_letters, handler = FakeDeadLetters(), FakeHandler()
    assert await _give(_delivery(dead_letters), handler, [record(0), bad, record(2)]) == [0, 1, 2]
    assert handler.handled == [0, 2]
    assert dead_letters.offsets == [1]


async def test_event_that_comes_again_is_given_once() -> None:
    """In one batch, in a later one, and from another partition: source and id tell."""
    delivery, handler = _delivery(), FakeHandler()
    same = {"event_id": "same"}
    await _give(delivery, handler, [record(0, **same), record(1, **same)])
    assert await _give(delivery, handler, [record(2, **same), record(5, partition=1, **same), record(3)]) == [
        2,
        5,
        3,
    ]
    assert handler.handled == [0, 3]


async def test_memory_of_events_is_bounded_and_can_be_turned_off() -> None:
    """The oldest is forgotten first."""
    delivery, handler = _delivery(remembered=2), FakeHandler()
    await _give(delivery, handler, [record(n) for n in range(3)])
    await _give(delivery, handler, [record(0), record(2)])
    assert handler.handled == [0, 1, 2, 0]
    without, other = _delivery(remembered=0), FakeHandler()
    await _give(without, other, [record(0), record(0)])
    assert other.handled == [0, 0]


async def test_event_of_a_partition_that_was_lost_is_neither_given_nor_committed() -> None:
    """Its new owner reads it; the other partitions go on."""
    handler = FakeHandler()
    records = [record(0), record(1), record(7, partition=1)]
    assert await _give(_delivery(), handler, records, wanted=lambda one: one.partition == 1) == [7]
    assert handler.handled == [7]


async def test_partition_that_is_lost_while_its_events_are_handled_is_not_committed() -> None:
    """The effect may be there; who owns it now does it again."""
    owned = {0, 1}

    async def lose() -> None:
        owned.discard(0)

    handler = FakeHandler(before=lose)
    records = [record(0), record(7, partition=1)]
    assert await _give(_delivery(), handler, records, wanted=lambda one: one.partition in owned) == [7]


async def test_mostly_poison_halts_and_leaves_what_comes_after() -> None:
    """A broken consumer must not empty its topic into the dead letters."""
    dead_letters = FakeDeadLetters()
    handler = FakeHandler({n: (ValueError("bug"), _FOREVER) for n in range(100)})
    with pytest.raises(TooManyInvalidError):
        await _give(
            _delivery(dead_letters, share=InvalidShare(0.5, 20, 5)), handler, [record(n) for n in range(100)]
        )
    assert len(dead_letters.failures) == 4


async def test_handler_that_is_misconfigured_halts() -> None:
    """No event is to blame."""
    dead_letters = FakeDeadLetters()
    with pytest.raises(ConfigError):
        await _give(_delivery(dead_letters), FakeHandler({0: (ConfigError("set it"), 1)}), [record(0)])
    assert dead_letters.failures == []


_FATES = st.sampled_from(["fine", "poison", "unreadable", "away", "flaky"])


@settings(max_examples=150, deadline=None)
@given(
    fates=st.lists(st.tuples(_FATES, st.integers(0, 2)), max_size=25),
    lost=st.sets(st.integers(0, 2)),
    hurry_after=st.integers(0, 40),
)
def test_what_is_returned_had_its_effect_and_so_had_all_before_it(
    fates: list[tuple[str, int]], lost: set[int], hurry_after: int
) -> None:
    """For any mix of failures over three partitions: an offset that is committed never
    covers an event that was neither handled nor set aside, and none of those is both.
    """
    errors = {
        "poison": (PermanentError("bad"), _FOREVER),
        "away": (StoreUnavailableError("x"), 2),
        "flaky": (ValueError(), 2),
    }
    records = [
        record(n, partition=place, value=b"[]" if fate == "unreadable" else b"")
        for n, (fate, place) in enumerate(fates)
    ]
    dead_letters = FakeDeadLetters()
    handler = FakeHandler({n: errors[fate] for n, (fate, _) in enumerate(fates) if fate in errors})
    done = asyncio.run(
        _give(
            _delivery(dead_letters),
            handler,
            records,
            wanted=lambda one: one.partition not in lost,
            hurried=lambda: len(handler.calls) >= hurry_after,
        )
    )
    effect = set(handler.handled) | set(dead_letters.offsets)
    for partition in range(3):
        mine = [n for n, (_, place) in enumerate(fates) if place == partition]
        committed = [n for n in done if n in mine]
        assert committed == mine[: len(committed)]
        assert set(committed) <= effect
        assert not committed or partition not in lost
    assert not set(handler.handled) & set(dead_letters.offsets)
    if hurry_after > 35 or all(fate != "away" for fate, _ in fates):
        assert len(done) == sum(place not in lost for _, place in fates)


@pytest.mark.parametrize("headers", [None, (), [("ce_id", b"\xff")]])
async def test_removal_of_a_key_of_a_compacted_topic_is_passed_over(headers: Any) -> None:
    """An erasure empties records: that is no unreadable event, and its neighbours proceed."""
    dead_letters, handler = FakeDeadLetters(), FakeHandler()
    delivery = _delivery(dead_letters)
    delivery.topic = dataclasses.replace(FEEDBACK, retention=None)
    records = [record(0), record(1, value=None, headers=headers), record(2)]
    done = await _give(delivery, handler, records)
    assert (done, handler.handled) == ([0, 1, 2], [0, 2])
    assert dead_letters.failures == []


async def test_empty_record_of_a_topic_that_is_not_compacted_is_set_aside() -> None:
    """There it is nobody's removal."""
    dead_letters, handler = FakeDeadLetters(), FakeHandler()
    await _give(_delivery(dead_letters), handler, [record(0), record(1, value=None)])
    assert [one.record.offset for one in dead_letters.failures] == [1]
