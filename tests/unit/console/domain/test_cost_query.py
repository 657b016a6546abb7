"""What is asked about costs."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.domain.cost_query import CostRequest, InvalidQueryError
from services.console.domain.moments import EARLIEST, LATEST

NOW = datetime(2026, 3, 30, 6, tzinfo=UTC)


def test_days_are_the_zones_and_today_is_one() -> None:
    """Two days of Paris, of which the first had 23 hours."""
    query = CostRequest(days=2, time_zone="Europe/Paris").query(NOW, {"tenant": "acme", "user": ""})
    assert (query.since, query.until) == (datetime(2026, 3, 28, 23, tzinfo=UTC), NOW)
    assert query.only == {"tenant": "acme"}
    assert query.group_by == ("model",)


def test_days_and_times_are_taken_in_their_zone() -> None:
    """A day means its beginning; a time has its own offset, whose plus may be lost."""
    query = CostRequest("2026-03-28", "2026-03-29T00:30:00 02:00", 30, "Europe/Paris", "day, tenant,day")
    spanned = query.query(NOW, {})
    assert spanned.since == datetime(2026, 3, 27, 23, tzinfo=UTC)
    assert spanned.until == datetime(2026, 3, 28, 22, 30, tzinfo=UTC)
    assert spanned.group_by == ("day", "tenant")
    assert CostRequest(group_by="").query(NOW, {}).group_by == ()


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (CostRequest(begin="yesterday"), "from"),
        (CostRequest(begin="2026-02-30"), "from"),
        (CostRequest(begin="2026-03-30T05:00:00"), "from"),
        (CostRequest(end="0001-01-01T00:00:00+14:00"), "to"),
        (CostRequest(begin="2026-03-31"), "from"),
        (CostRequest(begin="0001-01-01"), "from"),
        (CostRequest(begin="1900-01-01T00:00:00Z"), "from"),
        (CostRequest(begin="1970-12-31T23:59:59-00:00"), "from"),
        (CostRequest(end="9999-12-31"), "to"),
        (CostRequest(end="2300-01-01T00:00:00Z"), "to"),
        (CostRequest(time_zone="right/UTC"), "time_zone"),
        (CostRequest(time_zone="posix/Europe/Paris"), "time_zone"),
        (CostRequest(time_zone="posixrules"), "time_zone"),
        (CostRequest(time_zone="localtime"), "time_zone"),
        (CostRequest(time_zone="Factory"), "time_zone"),
        (CostRequest(time_zone=""), "time_zone"),
        (CostRequest(begin="2026-03-02", end="2026-03-01"), "from"),
        (CostRequest(time_zone="Mars/Base"), "time_zone"),
        (CostRequest(time_zone="../../etc/passwd"), "time_zone"),
        (CostRequest(group_by="model,password"), "group_by"),
    ],
)
def test_question_that_makes_no_sense_is_refused_by_its_part(asked: CostRequest, name: str) -> None:
    """Each by the name of its parameter."""
    with pytest.raises(InvalidQueryError) as refused:
        asked.query(NOW, {})
    assert refused.value.name == name


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_a_question_or_is_refused(begin: str, end: str, zone: str, group_by: str) -> None:
    """Never anything else."""
    try:
        query = CostRequest(begin, end, 30, zone, group_by).query(NOW, {})
    except InvalidQueryError:
        return
    assert query.since < query.until <= LATEST
    assert query.since >= EARLIEST
    assert query.until - query.since < timedelta(days=3_660_000)
