"""The negative binomial by its mean and shape: the variance is mean + mean² / shape."""

import math

_LARGE = 2000.0
_MOST_TERMS = 100_000


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


def quantile(share: float, mean: float, shape: float) -> int:
    """The least count that is not exceeded with a chance of at least `share`.

    Summed; of a large mean by Wilson's and Hilferty's cube root of the Gamma that it
    then is (1931), within a percent.
    """
    if mean <= 0:
        return 0
    if mean > _LARGE:
        spread = 1 / (9 * (mean * shape / (mean + shape)))
        root = 1 - spread + _normal_quantile(share) * math.sqrt(spread)
        return max(0, math.ceil(mean * max(0.0, root) ** 3))
    total = 0.0
    for count in range(_MOST_TERMS):
        total += math.exp(log_chance(count, mean, shape))
        if total >= share:
            return count
    return _MOST_TERMS


def _normal_quantile(share: float) -> float:
    """By bisection of the error function."""
    low, high = -10.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        if 0.5 * math.erfc(-middle / math.sqrt(2)) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2
