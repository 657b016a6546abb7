"""The negative binomial by its mean and shape: the variance is mean + mean² / shape."""

import math

_TERMS = 1_000
_NEGLIGIBLE = 1e-12


def log_chance(count: float, mean: float, shape: float) -> float:
    """The logarithm of the chance of exactly so many; of what is no count, its density by
    the same formula.
    """
    if mean <= 0:
        return 0.0 if count == 0 else -math.inf
    return (
        math.lgamma(count + shape)
        - math.lgamma(shape)
        - math.lgamma(count + 1)
        - shape * math.log1p(mean / shape)
        - count * math.log1p(shape / mean)
    )


def log10_tail(count: float, shape: float, mean: float) -> float:
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


def log10_lower_tail(count: float, shape: float, mean: float) -> float:
    """log10 P(K <= count), for a count below the mean: the other tail's complement by
    the same continued fraction, with the parameters in the other order (Abramowitz,
    Stegun 26.5.2).
    """
    chance = shape / (mean + shape)
    log_front = (
        math.lgamma(count + 1 + shape)
        - math.lgamma(shape + 1)
        - math.lgamma(count + 1)
        + shape * math.log(chance)
        + (count + 1) * math.log1p(-chance)
    )
    return min(0.0, (log_front + math.log(_beta_fraction(shape, count + 1.0, chance))) / math.log(10))


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
