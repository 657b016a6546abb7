"""How sure a share is, by Wilson's score interval."""

import math

_Z_95 = 1.959963984540054


def wilson_interval(positive: int, total: int, z: float = _Z_95) -> tuple[float, float] | None:
    """The interval that holds the true share of `positive` among `total`, at 95 % with
    the default `z`; None where there is nothing to count.

    Wilson (1927), as recommended by Brown, Cai and DasGupta, "Interval Estimation for a
    Binomial Proportion" (2001), section 3.1.1: unlike the usual interval it holds for
    few ratings and for shares near 0 and 1.

    Raises:
        ValueError: the counts are not 0 <= positive <= total.
    """
    if not 0 <= positive <= total:
        raise ValueError(f"{positive} of {total} is no share; positive must be from 0 to total")
    if total == 0:
        return None
    share, square = positive / total, z * z
    centre = (share + square / (2 * total)) / (1 + square / total)
    half = z * math.sqrt(share * (1 - share) / total + square / (4 * total * total)) / (1 + square / total)
    # At the ends the exact bound is 0 or 1; rounding must not miss it.
    low = 0.0 if positive == 0 else max(0.0, centre - half)
    high = 1.0 if positive == total else min(1.0, centre + half)
    return low, high


def difference_interval(
    good: int, total: int, other_good: int, other_total: int, z: float = _Z_95
) -> tuple[float, float] | None:
    """The interval of the first share less the second; None where one has no total.

    Newcombe (1998), "Interval estimation for the difference between independent
    proportions", method 10: from the two score intervals.

    Raises:
        ValueError: the counts are no shares.
    """
    one, other = wilson_interval(good, total, z), wilson_interval(other_good, other_total, z)
    if one is None or other is None:
        return None
    share, other_share = good / total, other_good / other_total
    difference = share - other_share
    below = math.hypot(share - one[0], other[1] - other_share)
    above = math.hypot(one[1] - share, other_share - other[0])
    return difference - below, difference + above
