"""Should the model be trained again?

A decision with its reasons, and with what stands against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from services.drift.domain.severity import Severity


class Reason(StrEnum):
    """Why to retrain."""

    DRIFT = "drift"
    LOW_SATISFACTION = "low_satisfaction"
    NEW_DATA = "new_data"
    MODEL_AGE = "model_age"


class Obstacle(StrEnum):
    """Why not now, though there is a reason to."""

    COOLDOWN = "cooldown"
    BUDGET = "budget"
    TOO_LITTLE_DATA = "too_little_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingPolicy:
    """The lines that a reason or an obstacle begins at; a value on the line counts as
    named in each comment.
    """

    drift_severity: Severity = Severity.MEDIUM  # this or worse
    satisfaction: float = 0.7  # share of positive ratings, 0..1; strictly below
    ratings: int = 50  # at least so many ratings before satisfaction is believed
    new_examples: int = 1_000  # at least so many, and
    new_examples_share: float = 0.1  # at least this part of what the model was trained on
    model_age: timedelta = timedelta(days=90)  # strictly older
    cooldown: timedelta = timedelta(days=7)  # over when exactly so much time has passed
    fewest_examples: int = 200  # at least so many examples, old and new, to train on


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """What is known of a model when the question is asked."""

    now: datetime
    trained_at: datetime
    last_attempt_at: datetime | None = None  # the last retraining that was started, whatever came of it
    drift: Severity = Severity.NONE
    positive_ratings: int = 0
    ratings: int = 0
    trained_on: int = 0  # examples
    new_examples: int = 0
    budget_left_usd: Decimal
    cost_usd: Decimal  # of one retraining, estimated


@dataclass(frozen=True, slots=True)
class RetrainingDecision:
    """Retrain if there is a reason and no obstacle.

    `explanation` has a sentence for each, with the numbers.
    """

    reasons: tuple[Reason, ...]
    obstacles: tuple[Obstacle, ...]
    explanation: tuple[str, ...]

    @property
    def retrain(self) -> bool:
        """Whether to start now."""
        return bool(self.reasons) and not self.obstacles


def decide(state: ModelState, policy: RetrainingPolicy = RetrainingPolicy()) -> RetrainingDecision:
    """Weigh the reasons for retraining against what forbids it now.

    Obstacles are looked for only when there is a reason.
    """
    reasons = _reasons(state, policy)
    obstacles = _obstacles(state, policy) if reasons else {}
    return RetrainingDecision(tuple(reasons), tuple(obstacles), (*reasons.values(), *obstacles.values()))


def _reasons(state: ModelState, policy: RetrainingPolicy) -> dict[Reason, str]:
    found: dict[Reason, str] = {}
    if state.drift >= policy.drift_severity and state.drift > Severity.NONE:
        found[Reason.DRIFT] = (
            f"drift is {state.drift.name.lower()}, the line is {policy.drift_severity.name.lower()}"
        )
    if state.ratings >= policy.ratings and state.positive_ratings < policy.satisfaction * state.ratings:
        share = state.positive_ratings / state.ratings
        found[Reason.LOW_SATISFACTION] = (
            f"satisfaction is {share:.3f} over {state.ratings} ratings, the line is {policy.satisfaction}"
        )
    if state.new_examples >= max(policy.new_examples, policy.new_examples_share * state.trained_on):
        found[Reason.NEW_DATA] = (
            f"{state.new_examples} new examples beside the {state.trained_on} that the model was trained on"
        )
    age = state.now - state.trained_at
    if age > policy.model_age:
        found[Reason.MODEL_AGE] = f"the model is {age.days} days old, the line is {policy.model_age.days}"
    return found


def _obstacles(state: ModelState, policy: RetrainingPolicy) -> dict[Obstacle, str]:
    found: dict[Obstacle, str] = {}
    if state.last_attempt_at is not None and state.now - state.last_attempt_at < policy.cooldown:
        found[Obstacle.COOLDOWN] = (
            f"the last retraining started at {state.last_attempt_at.isoformat()}, the next may at "
            f"{(state.last_attempt_at + policy.cooldown).isoformat()}"
        )
    if state.cost_usd > state.budget_left_usd:
        found[Obstacle.BUDGET] = (
            f"a retraining costs {state.cost_usd} USD, {state.budget_left_usd} USD are left"
        )
    examples = state.trained_on + state.new_examples
    if examples < policy.fewest_examples:
        found[Obstacle.TOO_LITTLE_DATA] = f"{examples} examples in all, {policy.fewest_examples} are needed"
    return found
