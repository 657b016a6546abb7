"""What one test says about one pair of windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reading:
    """A p-value for whether traffic changed, and beside it how much, which is what
    severity is judged by.
    """

    test: str  # mean_distance, mmd, drifted_share, flagged_rate, or the column's name
    p_value: float
    effect: float  # unit: see severity.py
    detail: Mapping[str, float] = field(default_factory=dict)
