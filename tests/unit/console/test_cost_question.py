"""What is asked about costs."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.domain.cost_question import AskedCosts, InvalidQuestionError
from services.console.domain.moments import EARLIEST, LATEST

NOW = datetime(2026, 3, 30, 6, tzinfo=UTC)


def test_days_are_the_zones_and_today_is_one() -> None:
    """Two days of Paris, of which the first had 23 hours."""
    question = AskedCosts(days=2, time_zone="Europe/Paris").question(NOW, {"tenant": "acme", "user": ""})
    assert (question.since, question.until) == (datetime(2026, 3, 28, 23, tzinfo=UTC), NOW)
    assert question.only == {"tenant": "acme"}
    assert question.group_by == ("model",)


def test_days_and_times_are_taken_in_their_zone() -> None:
    """A day means its beginning; a time has its own offset, whose plus may be lost."""
    question = AskedCosts("2026-03-28", "2026-03-29T00:30:00 02:00", 30, "Europe/Paris", "day, tenant,day")
    spanned = question.question(NOW, {})
    assert spanned.since == datetime(2026, 3, 27, 23, tzinfo=UTC)
    assert spanned.until == datetime(2026, 3, 28, 22, 30, tzinfo=UTC)
    assert spanned.group_by == ("tenant", "day")
    assert AskedCosts(group_by="").question(NOW, {}).group_by == ()


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (AskedCosts(begin="yesterday"), "from"),
        (AskedCosts(begin="2026-02-30"), "from"),
        (AskedCosts(begin="2026-03-30T05:00:00"), "from"),
        (AskedCosts(end="0001-01-01T00:00:00+14:00"), "to"),
        (AskedCosts(begin="2026-03-31"), "from"),
        (AskedCosts(begin="0001-01-01"), "from"),
        (AskedCosts(begin="1900-01-01T00:00:00Z"), "from"),
        (AskedCosts(begin="1970-12-31T23:59:59-00:00"), "from"),
        (AskedCosts(end="9999-12-31"), "to"),
        (AskedCosts(end="2300-01-01T00:00:00Z"), "to"),
        (AskedCosts(time_zone="right/UTC"), "time_zone"),
        (AskedCosts(time_zone="posix/Europe/Paris"), "time_zone"),
        (AskedCosts(time_zone="posixrules"), "time_zone"),
        (AskedCosts(time_zone="localtime"), "time_zone"),
        (AskedCosts(time_zone="Factory"), "time_zone"),
        (AskedCosts(time_zone=""), "time_zone"),
        (AskedCosts(begin="2026-03-02", end="2026-03-01"), "from"),
        (AskedCosts(time_zone="Mars/Base"), "time_zone"),
        (AskedCosts(time_zone="../../etc/passwd"), "time_zone"),
        (AskedCosts(group_by="model,password"), "group_by"),
    ],
)
def test_question_that_makes_no_sense_is_refused_by_its_part(asked: AskedCosts, name: str) -> None:
    """Each by the name of its parameter."""
    with pytest.raises(InvalidQuestionError) as refused:
        asked.question(NOW, {})
    assert refused.value.name == name


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_a_question_or_is_refused(begin: str, end: str, zone: str, group_by: str) -> None:
    """Never anything else."""
    try:
        question = AskedCosts(begin, end, 30, zone, group_by).question(NOW, {})
    except InvalidQuestionError:
        return
    assert question.since < question.until <= LATEST
    assert question.since >= EARLIEST
    assert question.until - question.since < timedelta(days=3_660_000)
