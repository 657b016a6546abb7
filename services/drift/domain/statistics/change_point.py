"""Since when?

The point at which a series split in two, and whether chance would split it as well.

The CUSUM statistic compares the means before and after every point t of a series of n,

    T = max over t of  sqrt(t (n - t) / n) |mean(x_1..x_t) - mean(x_t+1..x_n)|

(Csorgo and Horvath 1997, ch. 2), and its null comes from shuffling blocks of neighbours
(Kirch 2007), which keeps the autocorrelation. For embeddings, pass their projection on
the direction of the shift (explanation.py: shift_direction).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from services.drift.domain.statistics.dependence import plan_blocks
from services.drift.domain.windows import FloatArray

_SHUFFLES = 999
_EDGE = 0.05  # share of the series at either end in which no change is looked for: too little to compare with


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """The likeliest split: the first index of the new regime, the means, and the
    p-value of there being a split at all.
    """

    index: int
    mean_before: float
    mean_after: float
    p_value: float


def find_change(series: FloatArray, *, rng: np.random.Generator) -> ChangePoint:
    """Locate the likeliest change of mean in a series (n,), n >= 40.

    Raises:
        ValueError: the series is too short or holds NaN.
    """
    if len(series) < 40 or np.isnan(series).any():
        raise ValueError(
            f"a change point needs 40 values or more and no NaN, got {len(series)} values, "
            f"{int(np.isnan(series).sum())} NaN"
        )
    index, observed = _largest_split(series)
    before, after = series[:index], series[index:]
    residuals = np.concatenate([before - before.mean(), after - after.mean()])
    half = len(series) // 2
    plan = plan_blocks(residuals[:half, None], residuals[half:, None])
    blocks = np.array_split(series, plan.window_blocks + plan.baseline_blocks)
    scale = sqrt(plan.inflation)
    exceeding = sum(
        scale * _largest_split(_shuffle(blocks, rng))[1] >= observed * (1 - 1e-9) for _ in range(_SHUFFLES)
    )
    return ChangePoint(index, float(before.mean()), float(after.mean()), (1 + exceeding) / (1 + _SHUFFLES))


def _largest_split(series: FloatArray) -> tuple[int, float]:
    """The index that splits the series best, and the CUSUM statistic there."""
    count = len(series)
    points = np.arange(max(2, int(_EDGE * count)), count - max(2, int(_EDGE * count)) + 1)
    partial = np.cumsum(series - series.mean())[points - 1]
    statistics = np.abs(partial) / np.sqrt(points * (count - points) / count)
    best = int(statistics.argmax())
    return int(points[best]), float(statistics[best])


def _shuffle(blocks: list[FloatArray], rng: np.random.Generator) -> FloatArray:
    return np.concatenate([blocks[index] for index in rng.permutation(len(blocks))])
