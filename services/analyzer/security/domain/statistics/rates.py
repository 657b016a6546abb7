"""How surprising a count is, held against one's own counts before.

Counts in windows of a fixed width are modelled as Poisson with a Gamma rate that is
discounted from one window to the next, so that the prediction for a window is negative
binomial (West, Harrison, Migon: Dynamic Generalized Linear Models and Bayesian
Forecasting, JASA 80, 1985, section 4). Two departures, both against false alarms:

- Only windows in which something came count. Who is away over night is not surprising
  in the morning.
- The prediction's shape is at most `shape_cap`, with the mean kept: people work in
  bursts, and a Poisson prediction from a long baseline would call each one a wonder.
"""

import math
from dataclasses import dataclass, replace

_TERMS = 1_000
_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, slots=True)
class Rate:
    """A baseline and the window under way: `window` is its number since 1970, -1 before
    the first; `shape` over `exposure` is the mean of the windows before.
    """

    window: int = -1
    count: int = 0
    shape: float = 0.0
    exposure: float = 0.0


@dataclass(frozen=True, slots=True)
class RateModel:
    """How counts are expected to be: `prior_shape` over `prior_exposure` is the mean
    count of somebody of whom nothing is known.
    """

    width_s: float
    prior_shape: float
    prior_exposure: float
    discount: float = 0.98
    shape_cap: float = 4.0

    def observe(self, rate: Rate, at_s: float, count: int = 1) -> Rate:
        """After `count` more. What comes late is counted in the window under way."""
        window = max(int(at_s // self.width_s), rate.window)
        if window == rate.window:
            return replace(rate, count=rate.count + count)
        if rate.window < 0:
            return Rate(window, count)
        shape = self.discount * rate.shape + rate.count
        return Rate(window, count, shape, self.discount * rate.exposure + 1)

    def expected(self, rate: Rate) -> float:
        """The mean count of a window."""
        return (self.prior_shape + rate.shape) / (self.prior_exposure + rate.exposure)

    def surprise(self, rate: Rate) -> float:
        """-log10 of the chance of so many or more in a window; 0 where it is less than
        twice what is expected, which is no surprise.
        """
        mean = self.expected(rate)
        if rate.count < 2 * mean or rate.count == 0:
            return 0.0
        shape = min(self.prior_shape + rate.shape, self.shape_cap)
        return -_log10_tail(rate.count, shape, mean)


def _log10_tail(count: int, shape: float, mean: float) -> float:
    """log10 P(K >= count) of the negative binomial of this shape and mean: the
    regularised incomplete beta function I_p(count, shape) with p = mean / (mean +
    shape), by its continued fraction (Abramowitz, Stegun 26.5.8, evaluated as Lentz
    does), which converges fast for a count above the mean.
    """
    chance = mean / (mean + shape)
    log_front = (
        math.lgamma(count + shape)
        - math.lgamma(shape)
        - math.lgamma(count + 1)
        + shape * math.log1p(-chance)
        + count * math.log(chance)
    )
    return (log_front + math.log(_beta_fraction(float(count), shape, chance))) / math.log(10)


def _beta_fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    found = d
    for step in range(1, _TERMS):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        d = 1.0 / (1.0 + even * d)
        c = 1.0 + even / c
        found *= c * d
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        d = 1.0 / (1.0 + odd * d)
        c = 1.0 + odd / c
        found *= c * d
        if abs(c * d - 1.0) < _NEGLIGIBLE:
            break
    return found
