"""Series with a known dependence, for the tests of this folder."""

import numpy as np

from services.drift.domain.windows import FloatArray


def autoregressive(count: int, coefficient: float, *, seed: int) -> FloatArray:
    """AR(1) with unit variance: x_t = a x_(t-1) + sqrt(1 - a^2) e_t, shape (count,)."""
    noise = np.random.default_rng(seed).standard_normal(count)
    series = np.empty(count)
    series[0] = noise[0]
    for index in range(1, count):
        series[index] = coefficient * series[index - 1] + np.sqrt(1 - coefficient**2) * noise[index]
    return series
