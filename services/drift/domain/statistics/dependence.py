"""How far a request's neighbours resemble it, and how long a block must be to hold that
resemblance.

Prompts come in sessions and bursts, so n of them carry less evidence than n independent
ones. A test that shuffles single requests does not know this and raises false alarms;
one that shuffles blocks does. The block length is read from the data:

    R(k) = sum over requests t of x_t . x_(t+k) / sum of x_t . x_t        (x centred)

is the autocorrelation of the feature vectors, summed over their dimensions. Politis and
White (2004, Automatic block-length selection for the dependent bootstrap, Econometric
Reviews 23(1), with the correction of Patton, Politis and White 2009, 28(4)) choose,
with the flat-top window l(u) = 1 for u <= 1/2, 2(1-u) to 1, 0 beyond,

    g = sum l(k/M) R(k),   G = sum l(k/M) |k| R(k)       (k over both signs)
    b = (2 G^2 / (4/3 g^2))^(1/3) N^(1/3)

and M as twice the last lag whose R(k) stands out of the noise. For vectors the noise is
smaller than for one series: under independence Var R(k) = 1/(N d) with d = (tr S)^2 /
tr(S^2), the effective dimension of the covariance S. Their b is best for a variance's
mean squared error; a tail probability needs less bias, so b is raised until blocks miss
at most 10 % of the variance, and what they still miss is returned as `inflation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log10, sqrt

import numpy as np

from services.drift.domain.windows import FloatArray

_BIAS = 0.1  # share of the long-run variance that a block may miss
# Blocks in the smaller stretch when there is no dependence: coarser is cheaper, finer
# hardly stronger.
_FINEST = 100
# Blocks in all when there is no dependence: bounds the work when a long baseline meets a
# short window.
_MOST = 1000
_FEWEST = 10  # blocks in the smaller stretch at the strongest dependence: fewer cannot give a small p-value
_TELLING = 1000  # requests
_ANCHORS = 64
_SPREAD_ROWS = 256  # rows from which the effective dimension is read


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """How two stretches are cut: into how many blocks each, and what the null's
    variance must be multiplied by.
    """

    window_blocks: int
    baseline_blocks: int
    inflation: float = 1.0


def plan_blocks(window: FloatArray, baseline: FloatArray) -> BlockPlan:
    """Choose blocks for two feature matrices, (n, f) and (m, f), rows in order of
    arrival.

    The baseline is asked how dependent traffic is: it shows what is normal. A burst
    inside the window would look like dependence, and excuse itself. Only a baseline too
    short to tell (`_TELLING`) has the window asked as well.
    """
    rows = (
        baseline
        if len(baseline) >= _TELLING
        else np.concatenate([window - window.mean(axis=0), baseline - baseline.mean(axis=0)])
    )
    correlations = _flat_top(autocorrelations(rows))
    sizes = (len(window), len(baseline))
    length = _block_length(correlations, sizes)
    weight = 1 / sizes[0] + 1 / sizes[1]
    whole = sum(_variance(correlations, size) / size for size in sizes) / weight
    return BlockPlan(
        window_blocks=max(1, round(sizes[0] / length)),
        baseline_blocks=max(1, round(sizes[1] / length)),
        inflation=max(1.0, whole / max(_variance(correlations, length), 1e-9)),
    )


def autocorrelations(rows: FloatArray) -> FloatArray:
    """Give R(0..M) of a stretch (n, f), M twice the last lag that stands out of the
    noise; [1.0] when none does.
    """
    centred = _leading_directions(rows - rows.mean(axis=0))
    total = float(np.vdot(centred, centred))
    if total <= 0:
        return np.ones(1)
    count = len(rows)
    noise = 2 * sqrt(log10(count) / (count * _effective_dimension(_some(centred, _SPREAD_ROWS))))
    quiet_run = max(5, ceil(sqrt(log10(count))))
    furthest = count // 4

    def correlation(lag: int) -> float:
        return float(np.vdot(centred[:-lag], centred[lag:])) / total

    values, last_loud = [1.0], 0
    while len(values) <= min(last_loud + quiet_run, furthest):
        values.append(correlation(len(values)))
        if abs(values[-1]) >= noise:
            last_loud = len(values) - 1
    values += [correlation(lag) for lag in range(len(values), min(2 * last_loud, furthest) + 1)]
    return np.array(values[: 2 * last_loud + 1])


def _leading_directions(centred: FloatArray) -> FloatArray:
    """Replace many dimensions by inner products with some of the rows: a direction then
    counts by its variance.

    A squared distance's large values come from the few directions that vary most, and
    topics, the very thing that sessions stick to, are among them; counted alike,
    hundreds of quiet dimensions would hide their dependence.
    """
    return centred if centred.shape[1] <= _ANCHORS else centred @ _some(centred, _ANCHORS).T


def _some(rows: FloatArray, count: int) -> FloatArray:
    """About `count` rows, evenly spread."""
    return rows[:: max(1, len(rows) // count)]


def _effective_dimension(rows: FloatArray) -> float:
    """(tr S)^2 / tr(S^2), 1 for one series; tr(S^2) is the mean squared inner product
    of two different rows.
    """
    products = (rows @ rows.T).astype(np.float64)
    diagonal = np.diag(products)
    count = len(rows)
    squared = (np.sum(products**2) - np.sum(diagonal**2)) / max(1, count * (count - 1))
    return max(1.0, float(diagonal.mean() ** 2 / squared)) if squared > 0 else 1.0


def _flat_top(correlations: FloatArray) -> FloatArray:
    """Weigh R(0..M) by the flat-top window of Politis and Romano (1995)."""
    lags = np.arange(len(correlations)) / max(1, len(correlations) - 1)
    weighted: FloatArray = correlations * np.clip(2 * (1 - lags), 0, 1)
    weighted[0] = 1.0
    return weighted


def _block_length(correlations: FloatArray, sizes: tuple[int, int]) -> int:
    """Politis and White's length, raised to the wanted bias, within what the smaller
    stretch can give.
    """
    lags = np.arange(len(correlations))
    spread = max(1 + 2 * float(correlations[1:].sum()), 1e-2)
    weighted_spread = 2 * float((lags * correlations).sum())
    politis_white = (1.5 * (weighted_spread / spread) ** 2 * sum(sizes)) ** (1 / 3)
    wanted = max(politis_white, weighted_spread / (_BIAS * spread), min(sizes) / _FINEST, sum(sizes) / _MOST)
    return int(max(1, min(round(wanted), min(sizes) // _FEWEST)))


def _variance(correlations: FloatArray, length: int) -> float:
    """Variance of a sum of `length` neighbours, per request and in units of R(0): 1
    when independent.
    """
    lags = np.arange(1, min(len(correlations), length))
    return 1 + 2 * float(((1 - lags / length) * correlations[1 : len(lags) + 1]).sum())
