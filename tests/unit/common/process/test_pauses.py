"""Pauses of the process, whoever wakes first."""

import pytest

from services.common.process.pauses import PauseDetector


@pytest.mark.parametrize("watchdog_first", [True, False])
def test_pause_is_noticed_by_whoever_looks_first(*, watchdog_first: bool) -> None:
    """And by all others alike."""
    pauses = PauseDetector()
    pauses.tick(10.0)
    pauses.tick(10.25)
    assert pauses.woke_at(10.5) == float("-inf")
    if watchdog_first:
        pauses.tick(30.0)
    assert pauses.woke_at(30.0) == 30.0
    pauses.tick(30.1)
    assert pauses.woke_at(30.2) == 30.0


def test_time_before_the_first_tick_is_no_pause() -> None:
    """A process that is starting was not stopped."""
    pauses = PauseDetector()
    assert pauses.woke_at(1000.0) == float("-inf")
    pauses.tick(1000.0)
    assert pauses.woke_at(1000.9) == float("-inf")
