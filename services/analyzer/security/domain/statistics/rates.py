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

from dataclasses import dataclass, replace

from services.analyzer.statistics.negative_binomial import log10_tail


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
        return -log10_tail(rate.count, shape, mean)
