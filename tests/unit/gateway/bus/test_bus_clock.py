"""The broker's time, learned from acknowledgements."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.bus.bus_clock import BusClock

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)


def test_time_is_this_machines_until_an_acknowledgement_tells_better() -> None:
    """A machine that is ten minutes slow then goes by the broker, and goes on by it when
    its own clock is set.
    """
    wall, now_s = NOON - timedelta(minutes=10), 100.0
    clock = BusClock(lambda: wall, lambda: now_s)
    assert clock.now() == wall
    clock.learn(NOON_MS, sent_s=99.9)
    assert clock.now_ms() == NOON_MS
    wall, now_s = NOON + timedelta(days=3), 130.0
    assert clock.now_ms() == NOON_MS + 30_000
    assert clock.now() == NOON + timedelta(seconds=30)


def test_slow_acknowledgement_teaches_only_who_knows_nothing() -> None:
    """One that took seconds says little, but more than a wrong clock."""
    now_s = 100.0
    clock = BusClock(lambda: NOON, lambda: now_s)
    clock.learn(NOON_MS + 5_000, sent_s=90.0)
    assert clock.now_ms() == NOON_MS + 5_000
    clock.learn(NOON_MS - 5_000, sent_s=90.0)
    assert clock.now_ms() == NOON_MS + 5_000
    clock.learn(NOON_MS, sent_s=99.8)
    assert clock.now_ms() == NOON_MS


@given(st.floats(0, 0.5), st.floats(0, 1), st.integers(-(10**9), 10**9))
def test_time_is_never_ahead_of_the_brokers(took_s: float, share: float, skew_s: int) -> None:
    """Wherever within its way a record was appended, what is published later is appended
    at that time or later, and at most the way's length later.
    """
    broker_ms = NOON_MS + skew_s * 1000 + round(took_s * share * 1000)
    clock = BusClock(lambda: NOON, lambda: 100 + took_s)
    clock.learn(broker_ms, sent_s=100)
    true_now_ms = NOON_MS + skew_s * 1000 + took_s * 1000
    assert true_now_ms - took_s * 1000 - 2 <= clock.now_ms() <= true_now_ms + 1


@given(st.floats(0, 0.5), st.floats(0, 1), st.floats(0, 30))
def test_latest_time_is_never_before_the_brokers(took_s: float, share: float, seconds: float) -> None:
    """What is appended later than that was appended after the time had passed."""
    clock = BusClock(lambda: NOON, lambda: 100 + took_s)
    assert clock.latest_after(seconds) is None
    clock.learn(NOON_MS + round(took_s * share * 1000), sent_s=100)
    latest = clock.latest_after(seconds)
    assert latest is not None
    assert latest >= NOON + timedelta(seconds=took_s + seconds)
    assert latest <= NOON + timedelta(seconds=2 * took_s + seconds + 1.01)
