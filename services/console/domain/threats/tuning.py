"""Thresholds that follow from what people said of findings. Pure.

Of the alarms at or above a threshold some are false. For each candidate threshold the
share is estimated from the findings of which people said so, with an exact interval
(Clopper and Pearson). The lowest candidate is proposed whose interval lies at or below
the target. Several candidates are looked at: the confidence is shared out over them
(Bonferroni), so that all intervals hold together with the confidence asked for, and
choosing among them is no luck. Candidates are half points between the thresholds beside
it; they do not depend on what was said.

It holds for alarms like those that people spoke about: who judges only what looks false
gets a share that is too high.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.common.control.thresholds import Thresholds
from services.console.domain.clopper_pearson import clopper_pearson

TunedLevel = Literal["medium", "high", "critical"]
METHOD = "Clopper-Pearson, two-sided, Bonferroni over the candidates"
_STEP = 0.5
_MOST_POINTS = 30.0
_MOST_CANDIDATES = 64


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding of which somebody said what it is; `score` in points."""

    score: float
    is_false: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A threshold: of so many judged alarms so many are false, which is a share between
    `low` and `high`.
    """

    threshold: float
    alarms: int
    false_alarms: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """The share of false alarms; None without alarms."""
        return self.false_alarms / self.alarms if self.alarms else None


@dataclass(frozen=True, slots=True)
class Tuning:
    """What follows: the thresholds as proposed, None where no candidate is good enough;
    the present one's figures, each candidate's, and the confidence that each of their
    intervals has.
    """

    present: Candidate
    candidates: tuple[Candidate, ...]
    each_confidence: float
    proposed: Thresholds | None
    chosen: Candidate | None


def tune(
    judged: Sequence[Judged], thresholds: Thresholds, level: TunedLevel, target: float, confidence: float
) -> Tuning:
    """Where a level should begin so that at most `target` of its alarms, and of all
    above it, are false.

    Raises:
        ValueError: target or confidence are not between 0 and 1.
    """
    if not (0 < target < 1 and 0 < confidence < 1):
        raise ValueError(f"target {target} and confidence {confidence} must be between 0 and 1")
    points = _candidates(thresholds, level)
    each = 1 - (1 - confidence) / (len(points) + 1)  # the present one is looked at too
    candidates = tuple([_candidate(judged, one, each) for one in points])
    chosen = next((one for one in candidates if one.high <= target), None)
    return Tuning(
        _candidate(judged, getattr(thresholds, level), each),
        candidates,
        each,
        None if chosen is None else thresholds._replace(**{level: chosen.threshold}),
        chosen,
    )


def _candidates(thresholds: Thresholds, level: TunedLevel) -> list[float]:
    """Half points strictly between the thresholds beside this one, evenly thinned."""
    place = thresholds._fields.index(level)
    below = thresholds[place - 1]
    above = thresholds[place + 1] if place + 1 < len(thresholds) else _MOST_POINTS
    first, last = math.floor(below / _STEP) + 1, math.ceil(above / _STEP) - 1
    every = max(1, math.ceil((last - first + 1) / _MOST_CANDIDATES))
    return [one * _STEP for one in range(first, last + 1, every)]


def _candidate(judged: Sequence[Judged], threshold: float, confidence: float) -> Candidate:
    alarms = [one for one in judged if one.score >= threshold]
    false = sum(one.is_false for one in alarms)
    return Candidate(threshold, len(alarms), false, *clopper_pearson(false, len(alarms), confidence))
