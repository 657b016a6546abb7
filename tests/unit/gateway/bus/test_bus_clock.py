"""The brokers' time, learned from acknowledgements."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.bus import TopicPartition
from services.gateway.bus.bus_clock import BusClock

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
LANE, OTHER, REPLIES = (TopicPartition(topic, 0) for topic in ("lane", "other", "replies"))


@dataclass
class Scene:
    """A clock on a machine whose times are in the test's hands."""

    wall: datetime = NOON
    now_s: float = 100.0
    clock: BusClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = BusClock(lambda: self.wall, lambda: self.now_s)


def test_time_is_this_machines_until_an_acknowledgement_tells_better() -> None:
    """A machine that is ten minutes slow then goes by the broker, and goes on by it when
    its own clock is set.
    """
    scene = Scene(NOON - timedelta(minutes=10))
    assert scene.clock.now() == scene.wall
    scene.clock.learn(LANE, NOON_MS, sent_s=99.9)
    assert scene.clock.now_ms() == NOON_MS
    scene.wall, scene.now_s = NOON + timedelta(days=3), 130.0
    assert scene.clock.now_ms() == NOON_MS + 30_000
    assert scene.clock.now() == NOON + timedelta(seconds=30)


def test_slow_acknowledgement_teaches_only_who_knows_nothing() -> None:
    """One that took seconds says little, but more than a wrong clock."""
    scene = Scene()
    scene.clock.learn(LANE, NOON_MS + 5_000, sent_s=90.0)
    assert scene.clock.now_ms() == NOON_MS + 5_000
    scene.clock.learn(LANE, NOON_MS - 5_000, sent_s=90.0)
    assert scene.clock.now_ms() == NOON_MS + 5_000
    scene.clock.learn(LANE, NOON_MS, sent_s=99.8)
    assert scene.clock.now_ms() == NOON_MS


@given(st.floats(0, 0.5), st.floats(0, 1), st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=5))
def test_time_is_never_ahead_of_any_brokers(took_s: float, share: float, skews_s: list[int]) -> None:
    """Wherever within its way a record was appended, what is published later is appended
    at that time or later, in whichever partition; and at most the way's length later in
    the one whose clock is furthest behind.
    """
    clock = BusClock(lambda: NOON, lambda: 100 + took_s)
    for number, skew_s in enumerate(skews_s):
        broker_ms = NOON_MS + skew_s * 1000 + round(took_s * share * 1000)
        clock.learn(TopicPartition("lane", number), broker_ms, sent_s=100)
    true_now_ms = NOON_MS + min(skews_s) * 1000 + took_s * 1000
    assert true_now_ms - took_s * 1000 - 2 <= clock.now_ms() <= true_now_ms + 1


@given(st.floats(0, 0.5), st.floats(0, 1), st.floats(0, 30), st.integers(-(10**6), 10**6))
def test_latest_time_is_its_own_leaders(took_s: float, share: float, seconds: float, skew_s: int) -> None:
    """What is appended later than that was appended after the time had passed, whatever
    the clocks of other partitions' leaders show.
    """
    clock = BusClock(lambda: NOON, lambda: 100 + took_s)
    assert clock.latest_after(LANE, seconds) is None
    clock.learn(REPLIES, NOON_MS + skew_s * 1000, sent_s=100)
    assert clock.latest_after(LANE, seconds) is None
    clock.learn(LANE, NOON_MS + round(took_s * share * 1000), sent_s=100)
    latest = clock.latest_after(LANE, seconds)
    assert latest is not None
    assert latest >= NOON + timedelta(seconds=took_s + seconds)
    assert latest <= NOON + timedelta(seconds=2 * took_s + seconds + 1.01)


@pytest.mark.parametrize("jump_s", [3600, -3600, 5, -5])
def test_clock_that_jumped_is_learned_anew_and_what_was_known_of_others_is_dropped(jump_s: int) -> None:
    """This machine slept, which its monotonic clock did not see, or the brokers' clocks
    were set: the others are asked again before they count.
    """
    scene = Scene()
    for place in (LANE, OTHER, REPLIES):
        scene.clock.learn(place, NOON_MS, sent_s=99.9)
    scene.now_s = 110.0
    scene.clock.learn(LANE, NOON_MS + (10 + jump_s) * 1000, sent_s=109.9)
    assert scene.clock.now_ms() == NOON_MS + (10 + jump_s) * 1000
    assert scene.clock.latest_after(LANE, 5) is not None
    assert scene.clock.latest_after(OTHER, 5) is None


def test_clocks_that_differ_stay_apart() -> None:
    """One that is ahead by a minute is not taken for a jump of the others."""
    scene = Scene()
    for second in range(60):
        scene.now_s = 100.0 + second
        scene.clock.learn(LANE, NOON_MS + second * 1000, sent_s=scene.now_s - 0.1)
        scene.clock.learn(OTHER, NOON_MS + (60 + second) * 1000, sent_s=scene.now_s - 0.4)
    assert scene.clock.now_ms() == NOON_MS + 59_000
    lane, other = scene.clock.latest_after(LANE, 0), scene.clock.latest_after(OTHER, 0)
    assert lane is not None
    assert other is not None
    assert 59 < (other - lane).total_seconds() < 61


def test_what_is_known_to_be_wrong_is_replaced_by_whatever_is_better() -> None:
    """A record was dated later than its leader's clock could show, and acknowledged
    slowly, a moment after the last.
    """
    scene = Scene()
    scene.clock.learn(LANE, NOON_MS, sent_s=99.9)
    scene.clock.learn(LANE, NOON_MS + 60_000, sent_s=97.0)
    assert scene.clock.now_ms() == NOON_MS
    scene.clock.learn(LANE, NOON_MS + 60_000, sent_s=97.0, for_certain=True)
    assert scene.clock.now_ms() == NOON_MS + 60_000
