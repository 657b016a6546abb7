"""What becomes of what is given, before anything is learnt from it."""

import numpy as np
import pytest

from services.analyzer.forecast.domain.history import prepared
from services.analyzer.forecast.domain.series import (
    DAY,
    MOST_HOURS,
    WEEK,
    series_of,
    series_of_events,
    slots_of,
)


def test_hours_without_a_row_are_zero_and_hours_of_an_outage_unknown() -> None:
    """Events that did not come are none; of hours when nothing was recorded nothing is known."""
    series = series_of_events(
        "requests", {100: 5.0, 103: 7.0}, hours=range(100, 105), unknown=frozenset({102})
    )
    assert series.values.tolist()[:2] == [5.0, 0.0]
    assert np.isnan(series.values[2])
    assert series.values.tolist()[3:] == [7.0, 0.0]
    assert (series.known, series.next_hour) == (4, 105)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), -1.0, 1e300])
def test_values_that_cannot_be_are_unknown_and_counted(value: float) -> None:
    """Rather than that they spoil everything learnt."""
    series = series_of("cost", np.array([1.0, value, 2.0]), first_hour=0, kind="amount")
    assert np.isnan(series.values[1])
    assert series.rejected == 1


def test_series_begins_with_its_first_known_hour_and_keeps_half_a_year() -> None:
    """What a young installation has before it began is no history."""
    assert series_of("x", np.array([np.nan, np.nan, 3.0]), first_hour=10).first_hour == 12
    long = series_of("x", np.ones(MOST_HOURS + 5), first_hour=0)
    assert (len(long), long.first_hour) == (MOST_HOURS, 5)


def test_series_of_two_dimensions_is_refused_by_name() -> None:
    """The message says which and what is wanted."""
    with pytest.raises(ValueError, match="'tokens' has 2 dimensions"):
        series_of("tokens", np.ones((2, 2)), first_hour=0)


def test_slots_follow_the_clock_of_the_zone_through_both_changes() -> None:
    """In Paris two o'clock is missing on 28 March 2027 and comes twice on 31 October."""
    spring = 20_905 * DAY  # 28 March 2027, midnight UTC, which is one o'clock there
    assert (slots_of(spring, 3, "Europe/Paris") % DAY).tolist() == [1, 3, 4]
    autumn = 21_121 * DAY + 23  # 30 October 2027, 23:00 UTC
    assert (slots_of(autumn, 4, "Europe/Paris") % DAY).tolist() == [1, 2, 2, 3]
    assert (slots_of(autumn + 1, 1, "UTC") // DAY).tolist() == [6]
    with pytest.raises(ValueError, match="'Europe/Nowhere' is not known"):
        slots_of(0, 1, "Europe/Nowhere")


def test_outbreak_in_the_history_is_capped_and_a_new_level_is_not() -> None:
    """The one would be expected again, the other is what is to be expected."""
    usual = 100 + 50 * np.sin(2 * np.pi * np.arange(5 * WEEK) / DAY)
    outbreak, shifted = usual.copy(), usual.copy()
    outbreak[400:403] = 5_000
    outbreak[500:504] = 0
    shifted[-60:] *= 6
    history = prepared(series_of("x", outbreak, first_hour=0))
    assert history.values[400:403].max() < 400
    assert history.values[500:504].max() > 0
    assert history.capped == 7
    assert prepared(series_of("x", shifted, first_hour=0)).capped == 0


def test_unknown_hours_are_filled_as_the_week_before_and_stay_unknown_to_judges() -> None:
    """Models need each hour; nobody is judged by what was made up."""
    values = np.tile(np.arange(1.0, WEEK + 1), 3)
    values[2 * WEEK + 5] = np.nan
    history = prepared(series_of("x", values, first_hour=0, kind="amount"))
    assert history.values[2 * WEEK + 5] == pytest.approx(6.0)
    assert np.isnan(history.seen[2 * WEEK + 5])
