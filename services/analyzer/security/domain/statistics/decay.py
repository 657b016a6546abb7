"""Amounts that wane: after a half-life they count half, as radioactive decay has it.

An exponentially weighted sum needs one number and one time, whatever it was made of, so
what it takes to remember somebody is bounded. Times are event time (Unix seconds): an
amount does not depend on when it is looked at by whom.
"""

from dataclasses import dataclass

_HALVINGS = 60.0


@dataclass(frozen=True, slots=True)
class Amount:
    """What there is of something at a time."""

    value: float = 0.0
    at_s: float = 0.0

    def at(self, now_s: float, half_life_s: float) -> float:
        """What is left of it; an earlier time than its own counts as its own."""
        age_s = max(0.0, now_s - self.at_s)
        return self.value * waned(age_s, half_life_s)

    def plus(self, more: float, now_s: float, half_life_s: float) -> "Amount":
        """With more of it. What comes late is added as waned as it is by now."""
        if not more:
            return self
        late_s = max(0.0, self.at_s - now_s)
        added = more * waned(late_s, half_life_s)
        return Amount(self.at(now_s, half_life_s) + added, max(now_s, self.at_s))


def waned(age_s: float, half_life_s: float) -> float:
    """The share that is left after so long."""
    return float(0.5 ** min(age_s / half_life_s, _HALVINGS))
