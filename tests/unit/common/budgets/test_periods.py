"""Days and months of time zones, where clocks change and where they don't."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.budgets.periods import PeriodKind, period_at, start_of_day

ZONES = (
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/St_Johns",
    "Pacific/Kiritimati",
)
_MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)).map(lambda one: one.replace(tzinfo=UTC))  # noqa: DTZ001


@given(moment=_MOMENTS, zone=st.sampled_from(ZONES), kind=st.sampled_from(("day", "month")))
def test_periods_follow_each_other_without_gap_or_overlap(
    moment: datetime, zone: str, kind: PeriodKind
) -> None:
    """A moment lies in one; where that ends, the next begins; it is as long as it may be."""
    where = ZoneInfo(zone)
    period = period_at(moment, kind, where)
    assert period.has(moment)
    assert period_at(period.start, kind, where) == period
    assert period_at(period.end - timedelta(microseconds=1), kind, where) == period
    assert period_at(period.end, kind, where).start == period.end
    assert not period.has(period.end)
    length = period.end - period.start
    days = (1, 1) if kind == "day" else (28, 31)
    slack = timedelta(hours=24 if zone == "Pacific/Apia" else 2)  # Samoa left a whole day out
    assert timedelta(days=days[0]) - slack <= length <= timedelta(days=days[1]) + slack


@pytest.mark.parametrize(
    ("zone", "moment", "hours"),
    [
        ("Europe/Paris", datetime(2026, 3, 29, 12, tzinfo=UTC), 23),
        ("Europe/Paris", datetime(2026, 10, 25, 12, tzinfo=UTC), 25),
        ("America/New_York", datetime(2026, 11, 1, 12, tzinfo=UTC), 25),
        ("UTC", datetime(2026, 3, 29, 12, tzinfo=UTC), 24),
        ("Africa/Cairo", datetime(2026, 4, 24, 12, tzinfo=UTC), 23),
    ],
)
def test_day_on_which_clocks_change_is_shorter_or_longer(zone: str, moment: datetime, hours: int) -> None:
    """In spring, in autumn, and where the clock jumps over midnight itself."""
    period = period_at(moment, "day", ZoneInfo(zone))
    assert period.end - period.start == timedelta(hours=hours)


def test_month_begins_at_its_zones_midnight() -> None:
    """Paris is in November while New York and UTC still are in October."""
    moment = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)
    starts = [period_at(moment, "month", ZoneInfo(zone)).start for zone in ("Europe/Paris", "UTC")]
    assert starts == [datetime(2026, 10, 31, 23, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)]


def test_day_whose_midnight_does_not_exist_begins_after_the_jump() -> None:
    """In Cairo 0 o'clock of 24 April 2026 was skipped."""
    assert start_of_day(date(2026, 4, 24), ZoneInfo("Africa/Cairo")) == datetime(2026, 4, 23, 22, tzinfo=UTC)
