"""How bad a change is, judged by its size.

A p-value says only that there is one: with enough traffic any trifle is significant.
"""

from __future__ import annotations

from enum import IntEnum


class Severity(IntEnum):
    """Ordered, so that the worst of several is their maximum."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


EFFECT_LINES: dict[str, tuple[float, float, float]] = {
    # test: effect from which a significant change is medium, high, critical. For
    # embeddings these are what replacing about 10 %, 30 % and 70 % of the prompts by a
    # new topic causes (docs/drift.md)
    "mean_distance": (0.05, 0.15, 0.35),  # in the traffic's own spread
    "mmd": (0.03, 0.09, 0.2),
    "drifted_share": (0.05, 0.4, 0.75),  # share of dimensions beyond chance
    "flagged_rate": (0.02, 0.05, 0.15),  # share of prompts
    "language": (0.05, 0.15, 0.3),  # share of traffic that changed
}
_OTHER_LINES = (0.2, 0.5, 0.8)  # scalars, in standard deviations: Cohen (1988), small, medium, large


def severity_of(test: str, effect: float) -> Severity:
    """Grade the effect of a significant test."""
    return Severity(1 + sum(effect >= line for line in EFFECT_LINES.get(test, _OTHER_LINES)))
