"""Has a column of the traffic changed: the detector's verdicts, a label such as the
language, a number such as the latency?

Every test here is a feature map and a size of the difference of means (resampling.py):

flagged rate   feature: a prompt's evidence for a wave of attacks (wave_evidence); size:
               the difference of means.
categories     features: one indicator per label; size: the G statistic of the two rows
               of counts (Sokal and Rohlf 2012, Biometry, 17.4), that is twice their
               log-likelihood ratio. Its chi-square limit needs independence and large
               counts; the deals need neither.
scalars        features: indicators of x <= q for quantiles q of both stretches; sizes:
               the Kolmogorov-Smirnov distance max |F-G| and the Wasserstein distance,
               the area between F and G; one p-value for the more surprising of the two.
               KS sees a shift of the bulk, Wasserstein a tail that grows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.drift.domain.readings import Reading
from services.drift.domain.statistics.dependence import plan_blocks
from services.drift.domain.statistics.resampling import Deals, resample, sum_blocks
from services.drift.domain.windows import FloatArray

FLAGGED = 0.5  # risk from which a prompt counts as flagged
WAVE = 0.05  # share of attacks that the evidence is tuned to; hardly matters between .01 and .2
_GRID = np.concatenate([np.linspace(0.02, 0.98, 49), [0.99, 0.995]])


def flagged_rate(window: FloatArray, baseline: FloatArray, *, deals: Deals) -> Reading:
    """Ask whether attacks have become more frequent, from risk per prompt, (n,) and
    (m,): a probability, or 0/1 flags.

    Effect: by how much the share of flagged prompts (risk >= .5) rose. One-sided: fewer
    attacks need nobody's attention.
    """
    columns = [np.asarray(part, dtype=np.float32) for part in (window, baseline)]
    evidence = [wave_evidence(column)[:, None] for column in columns]
    plan = plan_blocks(*evidence)
    sums = sum_blocks(evidence[0], plan.window_blocks), sum_blocks(evidence[1], plan.baseline_blocks)
    outcome = resample(*sums, plan=plan, statistic=lambda differences: differences[:, 0], deals=deals)
    rates = {
        name: float((column >= FLAGGED).mean())
        for name, column in zip(("window", "baseline"), columns, strict=True)
    }
    return Reading(
        "flagged_rate", outcome.p_value, effect=max(0.0, rates["window"] - rates["baseline"]), detail=rates
    )


def wave_evidence(risk: FloatArray) -> FloatArray:
    """What a prompt says for a wave of `WAVE` attacks and against none: log(1 - w + w r
    / (1 - r)), (n,).

    With r the probability of an attack at even odds, r / (1 - r) is the likelihood
    ratio of attack to ordinary prompt and the sum over prompts the log-likelihood ratio
    of the mixture, the strongest test there is (Neyman and Pearson). Nearly flat for
    harmless prompts, it lets one sure attack weigh more than many doubts; for 0/1 flags
    it is the flagged rate.
    """
    bounded = np.clip(risk, 0, 1 - 1e-4)
    evidence: FloatArray = np.log1p(WAVE * (bounded / (1 - bounded) - 1))
    return evidence


def category_shift(name: str, window: Sequence[str], baseline: Sequence[str], *, deals: Deals) -> Reading:
    """Compare how labels are distributed.

    Effect: total variation, the share of traffic that changed its label.
    """
    labels, codes = np.unique(
        np.concatenate([np.asarray(window, dtype=str), np.asarray(baseline, dtype=str)]), return_inverse=True
    )
    indicators = np.eye(len(labels), dtype=np.float32)[codes]
    parts = indicators[: len(window)], indicators[len(window) :]
    plan = plan_blocks(*parts)
    sums = sum_blocks(parts[0], plan.window_blocks), sum_blocks(parts[1], plan.baseline_blocks)
    pooled, share = indicators.mean(axis=0), len(window) / len(indicators)

    def g_statistic(differences: FloatArray) -> FloatArray:
        rows = pooled + (1 - share) * differences, pooled - share * differences
        return share * _divergence(rows[0], pooled) + (1 - share) * _divergence(rows[1], pooled)

    outcome = resample(*sums, plan=plan, statistic=g_statistic, deals=deals)
    difference = sums[0].mean - sums[1].mean
    moved = {f"{label}": float(change) for label, change in zip(labels, difference, strict=True)}
    return Reading(
        name,
        outcome.p_value,
        effect=float(np.abs(difference).sum() / 2),
        detail={"g": 2 * len(indicators) * float(outcome.observed[0])} | moved,
    )


def scalar_shift(name: str, window: FloatArray, baseline: FloatArray, *, deals: Deals) -> Reading:
    """Compare the distribution of a number;.

    Effect: Wasserstein distance in the baseline's standard deviations.
    """
    parts = [np.asarray(part, dtype=np.float64) for part in (window, baseline)]
    edges = np.unique(np.quantile(np.concatenate(parts), _GRID, method="inverted_cdf"))
    features = [(part[:, None] <= edges).astype(np.float32) for part in parts]
    plan = plan_blocks(*features)
    sums = sum_blocks(features[0], plan.window_blocks), sum_blocks(features[1], plan.baseline_blocks)
    widths = np.append(np.diff(edges), 0.0).astype(np.float32)

    def distances(differences: FloatArray) -> FloatArray:
        gaps = np.abs(differences)
        return np.stack([gaps.max(axis=1), gaps @ widths], axis=1)

    outcome = resample(*sums, plan=plan, statistic=distances, deals=deals)
    distance = wasserstein(*parts)
    spread = float(parts[1].std())
    detail = {
        "ks": float(outcome.observed[0]),
        "wasserstein": distance,
        "window_mean": float(parts[0].mean()),
        "baseline_mean": float(parts[1].mean()),
    }
    return Reading(
        name, outcome.p_value, effect=distance / spread if spread > 0 else float(distance > 0), detail=detail
    )


def wasserstein(left: FloatArray, right: FloatArray) -> float:
    """Area between the two empirical distribution functions, in the column's unit."""
    points = np.sort(np.concatenate([left, right]))
    below = [np.searchsorted(np.sort(part), points[:-1], side="right") / len(part) for part in (left, right)]
    return float(np.abs(below[0] - below[1]) @ np.diff(points))


def _divergence(rows: FloatArray, pooled: FloatArray) -> FloatArray:
    """Kullback-Leibler divergence of each row of shares from the pooled shares: (B,)."""
    ratios = np.clip(rows, 1e-12, None) / pooled
    total: FloatArray = (np.clip(rows, 0, None) * np.log(ratios)).sum(axis=1)
    return total
