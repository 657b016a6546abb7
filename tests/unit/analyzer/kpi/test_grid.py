"""Which windows are due."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.analyzer.kpi.domain.grid import (
    HOP,
    LONGEST_CATCHING_UP,
    MINUTE,
    Snapshots,
    floor,
    is_passed_over,
    next_end,
)

AT = datetime(2026, 11, 28, 10, tzinfo=UTC)
S = timedelta(seconds=1)


def _all(judged_to: datetime, watermark: datetime) -> list[datetime]:
    found = []
    while (end := next_end(judged_to, watermark)) is not None:
        found.append(judged_to := end)
    return found


def test_windows_end_every_two_seconds_up_to_the_watermark() -> None:
    """What is not closed is not judged."""
    assert _all(AT, AT + 7 * S) == [AT + 2 * S, AT + 4 * S, AT + 6 * S]
    assert _all(AT + S, AT + 2 * S) == [AT + 2 * S]
    assert _all(AT, AT + S) == []
    assert _all(AT, AT - 90 * S) == []


def test_what_is_far_behind_is_judged_each_minute_then_every_two_seconds() -> None:
    """An hour of nobody costs sixty windows, not 1,800."""
    found = _all(AT, AT + timedelta(minutes=40))
    assert found[:2] == [AT + MINUTE, AT + 2 * MINUTE]
    assert found[-2:] == [AT + timedelta(minutes=40) - HOP, AT + timedelta(minutes=40)]
    assert len(found) < 40 + 5 * 30


def test_what_is_more_than_an_hour_behind_is_passed_over_and_said() -> None:
    """A day of nobody is not judged in the end."""
    watermark = AT + timedelta(days=1)
    end = next_end(AT, watermark)
    assert end is not None
    assert watermark - LONGEST_CATCHING_UP <= end <= watermark - LONGEST_CATCHING_UP + MINUTE
    assert is_passed_over(AT, end)
    assert not is_passed_over(AT, AT + MINUTE)


@given(st.integers(0, 10**8), st.integers(0, 4000))
def test_windows_rise_end_on_the_grid_and_reach_the_watermark(begin_ms: int, behind_s: int) -> None:
    """Whatever the state was."""
    begin = AT + timedelta(milliseconds=begin_ms)
    watermark = begin + behind_s * S
    found = _all(begin, watermark)
    assert found == sorted(set(found))
    assert all(one == floor(one, HOP) and begin < one <= watermark for one in found)
    assert watermark - (found[-1] if found else begin) < HOP


def test_watermark_is_when_the_log_ended_where_the_recorder_is() -> None:
    """Half a second is left for what is on its way to the log; all partitions count."""
    snapshots: Snapshots[str] = Snapshots()
    snapshots.take(AT, {"a": 5, "b": 0})
    snapshots.take(AT + S, {"a": 9, "b": 1})
    assert snapshots.watermark({"a": 4, "b": 1}) is None
    assert snapshots.watermark({"a": 8}) == AT - S / 2
    assert snapshots.watermark({"a": 9}) == AT - S / 2
    assert snapshots.watermark({"a": 9, "b": 1}) == AT + S / 2
    assert snapshots.is_quiet_since(AT + S)
    assert not snapshots.is_quiet_since(AT)


def test_snapshots_are_bounded_and_keep_the_oldest() -> None:
    """A recorder that is far behind moves the watermark when it arrives there."""
    snapshots: Snapshots[str] = Snapshots()
    for number in range(5000):
        snapshots.take(AT + number * S, {"a": number + 1})
    assert snapshots.watermark({"a": 1}) == AT - S / 2
    assert len(snapshots._taken) <= 1200
