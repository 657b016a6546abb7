"""When to retrain: every reason, every obstacle, and every line from both sides."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.drift.domain.decision import ModelState, Obstacle, Reason, decide
from services.drift.domain.severity import Severity

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONTENT = ModelState(
    now=NOW,
    trained_at=NOW - timedelta(days=10),
    trained_on=5000,
    budget_left_usd=Decimal(100),
    cost_usd=Decimal(40),
)
DRIFTED = replace(CONTENT, drift=Severity.HIGH)


def test_a_content_state_is_left_alone() -> None:
    """No reason, so no retraining, and nothing to explain."""
    decision = decide(CONTENT)
    assert not decision.retrain
    assert (decision.reasons, decision.obstacles, decision.explanation) == ((), (), ())


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"drift": Severity.LOW}, ()),
        ({"drift": Severity.MEDIUM}, (Reason.DRIFT,)),
        ({"drift": Severity.CRITICAL}, (Reason.DRIFT,)),
        ({"ratings": 100, "positive_ratings": 70}, ()),
        ({"ratings": 100, "positive_ratings": 69}, (Reason.LOW_SATISFACTION,)),
        ({"ratings": 50, "positive_ratings": 34}, (Reason.LOW_SATISFACTION,)),
        ({"ratings": 49, "positive_ratings": 0}, ()),
        ({"new_examples": 999}, ()),
        ({"new_examples": 1000}, (Reason.NEW_DATA,)),
        ({"new_examples": 1999, "trained_on": 20_000}, ()),
        ({"new_examples": 2000, "trained_on": 20_000}, (Reason.NEW_DATA,)),
        ({"trained_at": NOW - timedelta(days=90)}, ()),
        ({"trained_at": NOW - timedelta(days=90, seconds=1)}, (Reason.MODEL_AGE,)),
        (
            {
                "drift": Severity.HIGH,
                "ratings": 80,
                "positive_ratings": 40,
                "new_examples": 3000,
                "trained_at": NOW - timedelta(days=200),
            },
            (Reason.DRIFT, Reason.LOW_SATISFACTION, Reason.NEW_DATA, Reason.MODEL_AGE),
        ),
    ],
)
def test_each_reason_begins_at_its_line(change: dict[str, Any], reasons: tuple[Reason, ...]) -> None:
    """Values on both sides of every line; several reasons are all named, each with a
    sentence.
    """
    decision = decide(replace(CONTENT, **change))
    assert decision.reasons == reasons
    assert decision.retrain == bool(reasons)
    assert len(decision.explanation) == len(reasons)


@pytest.mark.parametrize(
    ("change", "obstacles"),
    [
        ({"last_attempt_at": NOW - timedelta(days=7)}, ()),
        ({"last_attempt_at": NOW - timedelta(days=7) + timedelta(seconds=1)}, (Obstacle.COOLDOWN,)),
        ({"cost_usd": Decimal("100.00")}, ()),
        ({"cost_usd": Decimal("100.01")}, (Obstacle.BUDGET,)),
        ({"trained_on": 200}, ()),
        ({"trained_on": 199}, (Obstacle.TOO_LITTLE_DATA,)),
        (
            {"last_attempt_at": NOW, "budget_left_usd": Decimal(0), "trained_on": 0},
            (Obstacle.COOLDOWN, Obstacle.BUDGET, Obstacle.TOO_LITTLE_DATA),
        ),
    ],
)
def test_each_obstacle_begins_at_its_line(change: dict[str, Any], obstacles: tuple[Obstacle, ...]) -> None:
    """A drifted model is retrained unless something forbids it; the reason stays on
    record.
    """
    decision = decide(replace(DRIFTED, **change))
    assert decision.obstacles == obstacles
    assert decision.reasons == (Reason.DRIFT,)
    assert decision.retrain == (not obstacles)


def test_obstacles_are_not_named_when_there_is_no_reason() -> None:
    """An empty budget matters to nobody while the model is fine."""
    assert decide(replace(CONTENT, budget_left_usd=Decimal(0))).obstacles == ()


def test_the_explanation_has_the_numbers() -> None:
    """What an operator reads in the alert."""
    decision = decide(replace(DRIFTED, ratings=80, positive_ratings=40, cost_usd=Decimal(250)))
    assert decision.explanation == (
        "drift is high, the line is medium",
        "satisfaction is 0.500 over 80 ratings, the line is 0.7",
        "a retraining costs 250 USD, 100 USD are left",
    )
