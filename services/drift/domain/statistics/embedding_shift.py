"""Has the meaning of the prompts moved?

Three readings of a window's embeddings against the baseline's.

All three cut the traffic by the same plan and judge the same random deals
(resampling.py), so they differ in what they look at:

mean distance   |mean(X) - mean(Y)|^2: cheap, sees a topic that grows or shrinks.
MMD             the same distance after a Gaussian kernel's feature map (Gretton et al.
                2012, A Kernel Two-Sample Test, JMLR 13): sees any difference of
                distribution. Bandwidth: the median distance (their section 8). Up to
                `_GRAM_ROWS` requests the kernel matrix itself is used; beyond, random
                Fourier features (Rahimi and Recht 2007, NIPS), whose inner product has
                the kernel as its mean.
drifted share   share of dimensions whose Kolmogorov-Smirnov distance passes the classic
                5 % line. Dimensions depend on one another, so the share's null comes
                from the deals, not from a binomial. Distribution functions are compared
                at `_QUANTILES` of a normal law with the pooled mean and spread, which
                costs no sorting.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from scipy import stats

from services.drift.domain.readings import Reading
from services.drift.domain.statistics.dependence import BlockPlan, plan_blocks
from services.drift.domain.statistics.resampling import (
    Deals,
    Outcome,
    Sums,
    block_sizes,
    resample,
    sum_blocks,
)
from services.drift.domain.windows import FloatArray

_GRAM_ROWS = 800
_FREQUENCIES = 192
_MEDIAN_ROWS = 400
_QUANTILES = (0.2, 0.5, 0.8)
_KS_5_PERCENT = 1.358  # sqrt(-ln(0.05/2)/2), Smirnov's limit law


def embedding_readings(window: FloatArray, baseline: FloatArray, *, deals: Deals) -> list[Reading]:
    """Run the three tests on embeddings (n, d) and (m, d), rows in order of arrival."""
    window, baseline = window.astype(np.float32, copy=False), baseline.astype(np.float32, copy=False)
    plan = plan_blocks(window, baseline)
    return [
        mean_distance(window, baseline, plan=plan, deals=deals),
        mmd(window, baseline, plan=plan, deals=deals),
        drifted_share(window, baseline, plan=plan, deals=deals),
    ]


def mean_distance(window: FloatArray, baseline: FloatArray, *, plan: BlockPlan, deals: Deals) -> Reading:
    """Compare mean embeddings.

    Effect: the shift beyond chance, in units of the traffic's own spread (root mean
    square).
    """
    sums = sum_blocks(window, plan.window_blocks), sum_blocks(baseline, plan.baseline_blocks)
    outcome = resample(*sums, plan=plan, statistic=_squared_length, deals=deals)
    spread = float(baseline.var(axis=0).sum())
    return Reading(
        "mean_distance",
        outcome.p_value,
        effect=sqrt(_beyond_chance(outcome) / spread) if spread > 0 else 0.0,
        detail={"distance": sqrt(outcome.observed[0])},
    )


def mmd(window: FloatArray, baseline: FloatArray, *, plan: BlockPlan, deals: Deals) -> Reading:
    """Compare distributions through a Gaussian kernel.

    Effect: MMD beyond chance (0..sqrt 2).
    """
    bandwidth = median_distance(window, baseline)
    if len(window) + len(baseline) <= _GRAM_ROWS:
        sums = _gram_sums(window, baseline, plan=plan, bandwidth=bandwidth)
    else:
        frequencies = deals.rng.standard_normal(
            (window.shape[1], _FREQUENCIES), dtype=np.float32
        ) / np.float32(bandwidth)
        sums = (
            sum_blocks(fourier_features(window, frequencies), plan.window_blocks),
            sum_blocks(fourier_features(baseline, frequencies), plan.baseline_blocks),
        )
    outcome = resample(*sums, plan=plan, statistic=_squared_length, deals=deals)
    return Reading(
        "mmd",
        outcome.p_value,
        effect=sqrt(_beyond_chance(outcome)),
        detail={"mmd": sqrt(outcome.observed[0]), "bandwidth": bandwidth},
    )


def drifted_share(window: FloatArray, baseline: FloatArray, *, plan: BlockPlan, deals: Deals) -> Reading:
    """Count dimensions that moved.

    Effect: their share beyond what chance alone shows (0..1).
    """
    pooled = np.concatenate([window, baseline])
    centre, spread = pooled.mean(axis=0), pooled.std(axis=0)
    edges = [centre + np.float32(z) * spread for z in stats.norm.ppf(_QUANTILES)]
    sums = [
        sum_blocks(np.concatenate([(part <= edge) for edge in edges], axis=1).astype(np.float32), blocks)
        for part, blocks in ((window, plan.window_blocks), (baseline, plan.baseline_blocks))
    ]
    line = np.float32(_KS_5_PERCENT * sqrt(1 / len(window) + 1 / len(baseline)))

    def share(differences: FloatArray) -> FloatArray:
        passed = np.abs(differences, out=differences) > line
        moved: FloatArray = passed.reshape(len(differences), len(edges), -1).any(axis=1).mean(axis=1)
        return moved

    outcome = resample(sums[0], sums[1], plan=plan, statistic=share, deals=deals)
    observed, chance = float(outcome.observed[0]), float(outcome.null_mean[0])
    return Reading(
        "drifted_share",
        outcome.p_value,
        effect=max(0.0, observed - chance),
        detail={"share": observed, "share_by_chance": chance},
    )


def classic_drifted_share(window: FloatArray, baseline: FloatArray, *, significance: float = 0.05) -> float:
    """Share of dimensions whose exact Kolmogorov-Smirnov p-value is below
    `significance`: the usual reading, not calibrated.

    Comparing it with a fixed line (10 % of dimensions is common) misses a jailbreak
    wave of 5 % every time; see docs/drift.md.
    """
    p_values = [
        stats.ks_2samp(window[:, column], baseline[:, column], method="asymp").pvalue
        for column in range(window.shape[1])
    ]
    return float(np.mean(np.array(p_values) < significance))


def median_distance(window: FloatArray, baseline: FloatArray) -> float:
    """Median distance between requests of both stretches, from at most a few hundred of
    them, evenly spread.
    """
    pooled = np.concatenate([window, baseline])
    rows = pooled[:: max(1, len(pooled) // _MEDIAN_ROWS)]
    squared = _squared_distances(rows, rows)[np.triu_indices(len(rows), 1)]
    return float(np.sqrt(np.median(squared))) or 1.0


def fourier_features(rows: FloatArray, frequencies: FloatArray) -> FloatArray:
    """Random features whose inner products estimate exp(-|x-y|^2 / 2 s^2), frequencies
    drawn from N(0, 1/s^2): (n, 2 f).
    """
    angles = rows @ frequencies
    features: FloatArray = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    features *= np.float32(1 / sqrt(frequencies.shape[1]))
    return features


def gaussian_kernel(left: FloatArray, right: FloatArray, bandwidth: float) -> FloatArray:
    """exp(-|x-y|^2 / 2 s^2) for every pair: (n, m)."""
    kernel: FloatArray = np.exp(_squared_distances(left, right) / (-2 * bandwidth**2))
    return kernel


def _gram_sums(
    window: FloatArray, baseline: FloatArray, *, plan: BlockPlan, bandwidth: float
) -> tuple[Sums, Sums]:
    """Block sums in coordinates whose inner products are exactly the kernel's: the
    square root of the block-summed kernel matrix.
    """
    pooled = np.concatenate([window, baseline])
    kernel = gaussian_kernel(pooled, pooled, bandwidth).astype(np.float64)
    sizes = [block_sizes(len(window), plan.window_blocks), block_sizes(len(baseline), plan.baseline_blocks)]
    starts = np.concatenate([[0], np.cumsum(np.concatenate(sizes))[:-1]])
    blocked = np.add.reduceat(np.add.reduceat(kernel, starts, axis=0), starts, axis=1)
    eigenvalues, vectors = np.linalg.eigh(blocked)
    roots = (vectors * np.sqrt(np.clip(eigenvalues, 0, None))).astype(np.float32)
    return (
        Sums(roots[: plan.window_blocks], sizes[0].astype(np.float32)),
        Sums(roots[plan.window_blocks :], sizes[1].astype(np.float32)),
    )


def _squared_distances(left: FloatArray, right: FloatArray) -> FloatArray:
    squared: FloatArray = (
        (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * (left @ right.T)
    )
    return np.clip(squared, 0, None)


def _squared_length(differences: FloatArray) -> FloatArray:
    squared: FloatArray = np.einsum("bf,bf->b", differences, differences)
    return squared


def _beyond_chance(outcome: Outcome) -> float:
    """The observed squared distance less what the deals show on average: unbiased,
    never below zero.
    """
    return max(0.0, float(outcome.observed[0] - outcome.null_mean[0]))
