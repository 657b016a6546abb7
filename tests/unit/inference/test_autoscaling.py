"""How many replicas a model needs."""

from types import SimpleNamespace

import pytest

from services.inference.autoscaling import RUNNING, WAITING, SlotsPolicy, replicas_needed


@pytest.mark.parametrize(
    ("running", "waiting", "expected"),
    [(0, 0, 1), (3, 0, 1), (4, 0, 2), (4, 3, 3), (4, 1000, 5)],
)
def test_replicas_needed_hold_everything_at_the_target_load(
    running: float, waiting: float, expected: int
) -> None:
    """Four slots each, four fifths in use, between one and five."""
    assert replicas_needed(running=running, waiting=waiting, slots=4, lowest=1, highest=5) == expected


def test_policy_adds_what_runs_and_takes_the_queue_once() -> None:
    """Each replica tells the same queue, and its own attempts."""
    context = SimpleNamespace(
        aggregated_metrics={RUNNING: {"a": 4.0, "b": 2.0}, WAITING: {"a": 3.0, "b": 5.0}},
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=10,
    )
    assert SlotsPolicy(slots=4)(context) == (4, {})  # type: ignore[arg-type]


def test_policy_without_reports_keeps_the_fewest() -> None:
    """Nobody has said anything yet."""
    context = SimpleNamespace(
        aggregated_metrics=None, capacity_adjusted_min_replicas=2, capacity_adjusted_max_replicas=3
    )
    assert SlotsPolicy(slots=4)(context)[0] == 2  # type: ignore[arg-type]
