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
