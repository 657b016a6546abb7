"""How sure a share is, by the exact interval of Clopper and Pearson."""

import math

_ROUNDS = 60
_MOST_TERMS = 10_000
_TINY = 1e-300


def clopper_pearson(hits: int, total: int, confidence: float) -> tuple[float, float]:
    """The interval that holds the true share with at least this confidence, whatever the
    share: [0, 1] where nothing was counted.

    Clopper and Pearson (1934): the shares under which as many hits or more, or as few or
    fewer, have a chance of at least (1 - confidence) / 2.

    Raises:
        ValueError: the counts are not 0 <= hits <= total, or the confidence is not
            between 0 and 1.
    """
    if not (0 <= hits <= total and 0 < confidence < 1):
        raise ValueError(
            f"{hits} of {total} at {confidence}: hits must be from 0 to total, the confidence between 0 and 1"
        )
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else _share_with(tail, hits, total - hits + 1)
    high = 1.0 if hits == total else _share_with(1 - tail, hits + 1, total - hits)
    return low, high


def _share_with(chance: float, a: float, b: float) -> float:
    """The share at which the Beta distribution of `a` and `b` reaches a chance."""
    low, high = 0.0, 1.0
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if beta_chance(middle, a, b) < chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def beta_chance(share: float, a: float, b: float) -> float:
    """The regularised incomplete Beta function, the chance that a Beta of `a` and `b` is
    at most `share`, by its continued fraction (Lentz's method; DLMF 8.17.22).
    """
    if share <= 0 or share >= 1:
        return float(share >= 1)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(share) + b * math.log1p(-share)
    )
    if share < (a + 1) / (a + b + 2):
        return front * _fraction(share, a, b) / a
    return 1 - front * _fraction(1 - share, b, a) / b


def _fraction(share: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * share / (a + 1))
    value = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * share / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * share / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
