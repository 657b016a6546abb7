"""From points to levels, and what a level is worth where a user's risk is counted."""

import math

from schemas.events.security import RiskLevel
from services.common.control.thresholds import Thresholds

MOST_POINTS = 30.0


def level_of(points: float, thresholds: Thresholds) -> RiskLevel:
    """The level of so many points."""
    return RiskLevel(thresholds.level(points))


_WEIGHTS = {RiskLevel.MEDIUM: 1 / 3, RiskLevel.HIGH: 1.0, RiskLevel.CRITICAL: 2.0}
_ORDINARY = {RiskLevel.MEDIUM: 0.012, RiskLevel.HIGH: 0.005, RiskLevel.CRITICAL: 0.0002}
"""The share of ordinary prompts of each level: 1.7 % of them are of medium or more
(docs/detection/prompt-attacks.md), few of them critical.
"""
_MEAN = sum(_ORDINARY[level] * weight for level, weight in _WEIGHTS.items())
_SQUARE = sum(_ORDINARY[level] * weight**2 for level, weight in _WEIGHTS.items())


def weight_of(level: RiskLevel, place: str) -> float:
    """How many findings a finding counts as, where the gateway limits by their number.

    A medium one in a text counts a third, a sign in a user's behaviour one, being held
    against chance already. What a model said counts half of what a user wrote.
    """
    if place == "behaviour" and level is RiskLevel.MEDIUM:
        return 1.0
    return _WEIGHTS.get(level, 0.0) * (0.5 if place == "response" else 1.0)


def allowance(requests: float) -> float:
    """How much the texts of so many ordinary requests weigh, wrongly flagged: the mean
    and two standard deviations of a compound Poisson sum, half a finding forgiven.

    Who sends thousands an hour has flagged ones among them without being an attacker,
    and must not be limited for that; who sends few is limited for the first.
    """
    return requests * _MEAN + max(0.0, 2 * math.sqrt(requests * _SQUARE) - 0.5)
