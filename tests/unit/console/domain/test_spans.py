"""A span of time as pieces that the store has sums of."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.console.domain.spans import STEPS, spans

MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 3, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_spans_take_the_longest_steps_and_events_at_the_very_ends() -> None:
    """Days in the middle, then hours, then minutes."""
    begin = datetime(2026, 11, 1, 22, 58, 30, tzinfo=UTC)
    end = datetime(2026, 11, 4, 1, 2, 0, 5, tzinfo=UTC)
    assert [one.step for one in spans(begin, end)] == [
        "event",
        "minute",
        "hour",
        "day",
        "hour",
        "minute",
        "event",
    ]
    assert [one.step for one in spans(begin, end, ("day",))] == ["event", "day", "event"]
    assert [one.step for one in spans(begin, end, ())] == ["event"]
    assert spans(end, end) == spans(end, begin) == []


@given(begin=MOMENTS, end=MOMENTS, steps=st.sampled_from([tuple(STEPS), ("day", "hour"), ("minute",), ()]))
def test_spans_are_the_whole_span_and_no_more(begin: datetime, end: datetime, steps: tuple[str, ...]) -> None:
    """One after the other, each a whole number of its steps, few of them."""
    found = spans(begin, end, steps)  # type: ignore[arg-type]
    if begin >= end:
        assert found == []
        return
    assert (found[0].begin, found[-1].end) == (begin, end)
    assert all(one.end == other.begin for one, other in pairwise(found))
    assert all(one.begin < one.end for one in found)
    assert len(found) <= 2 * len(steps) + 1
    for one in found:
        if one.step != "event":
            midnight = datetime(2026, 1, 1, tzinfo=UTC)
            for moment in (one.begin, one.end):
                assert not (moment - midnight) % STEPS[one.step]
        else:
            assert one.end - one.begin < timedelta(minutes=1) or "minute" not in steps
