"""Student's t distribution with whole degrees of freedom."""

import functools
import math

_ROUNDS = 80
_MOST = 1e6


def t_chance(value: float, freedom: int) -> float:
    """The chance that a t of so many degrees of freedom is at most `value`.

    Abramowitz and Stegun (1964), 26.7.3 and 26.7.4: finite sums, exact.

    Raises:
        ValueError: there is no degree of freedom.
    """
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom; there must be one at least")
    angle = math.atan(value / math.sqrt(freedom))
    square = math.cos(angle) ** 2
    is_odd = freedom % 2 == 1
    term = math.cos(angle) if is_odd else 1.0
    total = 0.0
    for place in range((freedom - 1) // 2 if is_odd else freedom // 2):
        total += term
        term *= (
            square * (2 * place + 2) / (2 * place + 3)
            if is_odd
            else square * (2 * place + 1) / (2 * place + 2)
        )
    share = 2 / math.pi * (angle + math.sin(angle) * total) if is_odd else math.sin(angle) * total
    return (1 + share) / 2


@functools.lru_cache(maxsize=1024)
def t_quantile(chance: float, freedom: int) -> float:
    """The value that a t is at most with this chance, to about 1e-9 of it.

    Raises:
        ValueError: the chance is not between 0 and 1.
    """
    if not 0 < chance < 1:
        raise ValueError(f"the chance {chance} must be between 0 and 1")
    low, high = -_MOST, _MOST
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if t_chance(middle, freedom) < chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2
