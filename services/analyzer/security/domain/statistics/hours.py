"""At which hours of the day (UTC) somebody is usually there.

A histogram of 24 hours that wanes, smoothed over the neighbouring hours, with a little
of a uniform prior (Gelman and others: Bayesian Data Analysis, 3rd edition, section
3.4: the Dirichlet prior of a multinomial).
"""

import math
from dataclasses import dataclass

HALF_LIFE_S = 14 * 86_400.0
_PRIOR = 6.0
_FEWEST, _FEWEST_DAYS = 60.0, 5
_UNUSUAL = 0.01
_HEAVY = 2.0**30


@dataclass(frozen=True, slots=True)
class Hours:
    """How often somebody came at each hour; `days` on how many days, of which `day` was
    the last.

    Counts are kept in weights of `since_s`: what comes later weighs more, rather than
    that all of them wane each time (Cormode and others: Forward Decay, ICDE 2009).
    """

    counts: tuple[float, ...] = (0.0,) * 24
    since_s: float = 0.0
    newest_s: float = 0.0
    day: int = -1
    days: int = 0


def observe(hours: Hours, at_s: float) -> Hours:
    """After one more coming."""
    counts, since_s = hours.counts, hours.since_s or at_s
    weight = 2.0 ** ((at_s - since_s) / HALF_LIFE_S)
    if weight > _HEAVY:
        counts, since_s, weight = tuple([one / weight for one in counts]), at_s, 1.0
    hour, day = _hour(at_s), int(at_s // 86_400)
    counts = (*counts[:hour], counts[hour] + weight, *counts[hour + 1 :])
    newest_s = max(at_s, hours.newest_s)
    return Hours(counts, since_s, newest_s, max(day, hours.day), hours.days + (day > hours.day))


def chance(hours: Hours, at_s: float) -> float:
    """The chance of a coming at that hour."""
    hour, counts = _hour(at_s), hours.counts
    near = 0.5 * counts[hour] + 0.25 * (counts[hour - 1] + counts[(hour + 1) % 24])
    prior = _PRIOR * _weight(hours)
    return (near + prior / 24) / (sum(counts) + prior)


def unusual(hours: Hours, at_s: float) -> float:
    """-log10 of the chance of that hour where it is unusual; 0 where it is not, or too
    little is known.
    """
    if hours.days < _FEWEST_DAYS or sum(hours.counts) < _FEWEST * _weight(hours):
        return 0.0
    found = chance(hours, at_s)
    return -math.log10(found) if found < _UNUSUAL else 0.0


def _weight(hours: Hours) -> float:
    """What a coming at the latest time weighs."""
    return float(2.0 ** ((hours.newest_s - hours.since_s) / HALF_LIFE_S))


def _hour(at_s: float) -> int:
    return int(at_s // 3600) % 24
