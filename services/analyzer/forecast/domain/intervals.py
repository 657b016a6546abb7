"""Intervals from the backtest's own errors: split conformal prediction, by how far ahead.

An error counts in the scale in which the series scatters at that height: sqrt(unit m +
phi m² + unit²/4), a negative binomial's, with phi estimated from the errors. Quantiles
of the scaled errors, below and above apart, are raised for the finite sample (Vovk,
Gammerman, Shafer: Algorithmic Learning in a Random World, 2005, section 2.2; Angelopoulos,
Bates: Conformal Prediction, 2023, section 1). Neighbouring hours err alike: so many
errors count as a third of them. Farther ahead is never narrower. Exchangeability does not
hold for series that change; the coverage that comes of it is measured by
`make bench-forecast` and reported with each forecast.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from services.analyzer.forecast.domain.series import WEEK, Floats

LEVELS = (0.8, 0.95)
_BORDERS = (0, 6, 24, 72, WEEK)
_ALIKE = 3
_FEW = 12
_NORMAL = {0.8: 1.2816, 0.95: 1.96}
_NO_DATA_SCALE = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """How forecasts scatter: `below` and `above` by level and by how far ahead (one of
    each stretch of hours), in the scale of `unit` and `phi`.
    """

    unit: float
    phi: float
    below: dict[float, tuple[float, ...]]
    above: dict[float, tuple[float, ...]]

    def interval(self, median: Floats, level: float) -> tuple[Floats, Floats]:
        """Lower and upper bounds for consecutive hours ahead; never below nothing."""
        part = (
            np.minimum(np.searchsorted(_BORDERS, np.arange(len(median)), side="right"), len(_BORDERS) - 1) - 1
        )
        scale = scaled(median, self.unit, self.phi)
        low = median - np.array(self.below[level])[part] * scale
        high = median + np.array(self.above[level])[part] * scale
        return np.maximum(0.0, low), np.maximum(0.0, high)


def scaled(median: Floats, unit: float, phi: float) -> Floats:
    """How far a series of this height scatters."""
    found: Floats = np.sqrt(unit * median + phi * median**2 + 0.25 * unit**2)
    return found


def spread_of(came: Floats, said: Floats, unit: float) -> Spread:
    """From what came and what had been said, origins × hours ahead."""
    phi = _phi(came, said, unit)
    errors = (came - said) / scaled(said, unit, phi)
    below: dict[float, list[float]] = {level: [] for level in LEVELS}
    above: dict[float, list[float]] = {level: [] for level in LEVELS}
    for begin, end in itertools.pairwise(_BORDERS):
        some = errors[:, begin:end]
        some = some[~np.isnan(some)]
        for level in LEVELS:
            _append(below[level], _border(-some, level))
            _append(above[level], _border(some, level))
    return Spread(
        unit,
        phi,
        {level: tuple(one) for level, one in below.items()},
        {level: tuple(one) for level, one in above.items()},
    )


def covered(came: Floats, said: Floats, unit: float, level: float) -> float:
    """The share of hours within intervals that were made without their own origin and
    those beside it; NaN with fewer than six origins.
    """
    within: list[float] = []
    if len(came) < 6:
        return float("nan")
    for row in range(len(came)):
        others = np.abs(np.arange(len(came)) - row) > 1
        spread = spread_of(came[others], said[others], unit)
        low, high = spread.interval(np.nan_to_num(said[row]), level)
        judged = ~np.isnan(came[row]) & ~np.isnan(said[row])
        within += list(((came[row] >= low - 1e-9) & (came[row] <= high + 1e-9))[judged].astype(float))
    return float(np.mean(within)) if within else float("nan")


def _phi(came: Floats, said: Floats, unit: float) -> float:
    """By moments: the variance beyond a Poisson's over the squared height; from the
    middle of the errors, so that an outbreak has no say.
    """
    judged = ~np.isnan(came) & ~np.isnan(said)
    if not np.any(judged):
        return 0.1
    away, height = np.abs(came[judged] - said[judged]), said[judged]
    usual = away <= np.quantile(away / np.sqrt(unit * height + height**2 + unit**2), 0.95) * np.sqrt(
        unit * height + height**2 + unit**2
    )
    beyond = float(np.sum(away[usual] ** 2 - unit * height[usual]))
    size = float(np.sum(height[usual] ** 2))
    return min(4.0, max(0.0, beyond / size)) if size > 0 else 0.0


def _border(errors: Floats, level: float) -> float:
    """The one-sided quantile (1 + level) / 2, raised for the finite sample; of few
    errors at least what a normal distribution of their size says.
    """
    normal = _NORMAL[level]
    if len(errors) == 0:
        return _NO_DATA_SCALE * normal
    count = len(errors) / _ALIKE
    share = min(1.0, (1 + level) / 2 * (1 + 1 / count))
    found = float(np.quantile(errors, share, method="higher" if len(errors) < 200 else "linear"))
    if count < _FEW:
        size = float(np.sqrt(np.mean(errors**2)))
        found = max(found, normal * size * (1 + 1 / count))
    return max(0.0, found)


def _append(borders: list[float], border: float) -> None:
    borders.append(max(border, borders[-1]) if borders else border)
