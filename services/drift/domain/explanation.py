"""What changed, and because of whom: the prompts, segments and directions behind a
drift of embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.drift.domain.windows import FloatArray

_FOLDS = 2
_RIDGE = 1.0
_NEWTON_STEPS = 15


@dataclass(frozen=True, slots=True)
class SegmentShare:
    """What one segment (a tenant, a model, a language) adds to the shift of the mean."""

    segment: str
    window_share: float  # 0..1
    baseline_share: float  # 0..1
    contribution: (
        float  # its part of the shift: all segments of an attribute add up to 1; negative if it pulls back
    )


@dataclass(frozen=True, slots=True)
class DomainScores:
    """How surely a classifier tells window from baseline, for each request and overall."""

    window: FloatArray  # (n,), 0..1: probability of coming from the window; the highest ones drive the drift
    baseline: FloatArray  # (m,)
    auc: float  # .5: cannot be told apart; 1: nothing in common


def shift_direction(window: FloatArray, baseline: FloatArray) -> FloatArray:
    """Unit vector (d,) from the baseline's mean embedding to the window's; zero if they
    agree.
    """
    shift = window.mean(axis=0) - baseline.mean(axis=0)
    length = float(np.linalg.norm(shift))
    direction: FloatArray = shift / length if length > 0 else shift
    return direction


def nearest_to_shift(window: FloatArray, baseline: FloatArray, *, count: int) -> list[int]:
    """Index the `count` window requests that lie furthest along the shift of the mean,
    the most typical of it first.

    Ranked by the cosine between (request - baseline mean) and the shift, so that a far
    outlier in another direction does not win.
    """
    offsets = window - baseline.mean(axis=0)
    lengths = np.linalg.norm(offsets, axis=1)
    cosines = (offsets @ shift_direction(window, baseline)) / np.where(lengths > 0, lengths, 1.0)
    return [int(index) for index in np.argsort(-cosines, kind="stable")[:count]]


def domain_scores(window: FloatArray, baseline: FloatArray, *, rng: np.random.Generator) -> DomainScores:
    """Train a classifier of window against baseline and score each request by the half
    that did not see it.

    Ridge logistic regression, both sides weighing the same (Lopez-Paz and Oquab 2017,
    Revisiting Classifier Two-Sample Tests).
    """
    rows = np.concatenate([window, baseline]).astype(np.float64)
    rows = (rows - rows.mean(axis=0)) / max(float(rows.std(axis=0).mean()), 1e-12)
    labels = np.concatenate([np.ones(len(window)), np.zeros(len(baseline))])
    weights = np.concatenate(
        [np.full(len(window), 0.5 / len(window)), np.full(len(baseline), 0.5 / len(baseline))]
    ) * len(rows)
    folds = np.concatenate([rng.permutation(np.arange(len(part)) % _FOLDS) for part in (window, baseline)])
    scores = np.empty(len(rows))
    for fold in range(_FOLDS):
        seen, unseen = folds != fold, folds == fold
        scores[unseen] = _sigmoid(
            _with_constant(rows[unseen]) @ _fit_logistic(rows[seen], labels[seen], weights[seen])
        )
    return DomainScores(
        scores[: len(window)],
        scores[len(window) :],
        area_under_curve(scores[: len(window)], scores[len(window) :]),
    )


def area_under_curve(positive: FloatArray, negative: FloatArray) -> float:
    """Chance that a random positive scores higher than a random negative, ties counting
    half (Mann and Whitney 1947).
    """
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.mean() / (2 * len(negative)))


def segment_shares(
    window: FloatArray,
    baseline: FloatArray,
    *,
    window_segments: Sequence[str],
    baseline_segments: Sequence[str],
) -> list[SegmentShare]:
    """Split the shift of the mean among the values of an attribute, the largest
    contribution first.

    With o = the baseline's mean and u = the direction of the shift, the shift's length
    is mean_W((x-o).u) - mean_B((x-o).u). Each mean is a sum over requests, so a
    segment's part is the sum over its own requests: exact, whether it grew or changed
    its topic.
    """
    origin, direction = baseline.mean(axis=0), shift_direction(window, baseline)
    parts = (
        ((window - origin) @ direction, np.asarray(window_segments, dtype=str)),
        ((baseline - origin) @ direction, np.asarray(baseline_segments, dtype=str)),
    )
    total = float(parts[0][0].mean() - parts[1][0].mean())
    shares = []
    for segment in sorted(set(parts[0][1]) | set(parts[1][1])):
        member = [labels == segment for _, labels in parts]
        moved = [
            float(along[mine].sum() / len(along)) for (along, _), mine in zip(parts, member, strict=True)
        ]
        contribution = (moved[0] - moved[1]) / total if total > 0 else 0.0
        shares.append(
            SegmentShare(str(segment), float(member[0].mean()), float(member[1].mean()), contribution)
        )
    return sorted(shares, key=lambda share: -share.contribution)


def map_in_two_dimensions(window: FloatArray, baseline: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coordinates (n, 2) and (m, 2) on the first two principal components of both
    stretches together.

    Each component's sign is chosen so that its largest loading is positive: the same
    data always give the same picture.
    """
    pooled = np.concatenate([window, baseline]).astype(np.float64)
    centred = pooled - pooled.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    components = vectors[:, : -3 if vectors.shape[1] > 2 else None : -1]
    components = components * np.sign(
        components[np.abs(components).argmax(axis=0), np.arange(components.shape[1])]
    )
    coordinates = centred @ components
    return coordinates[: len(window)], coordinates[len(window) :]


def _fit_logistic(rows: FloatArray, labels: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted ridge logistic regression by Newton's method; the constant is not
    penalised: (d + 1,).
    """
    design = _with_constant(rows)
    penalty = np.full(design.shape[1], _RIDGE * rows.shape[1])
    penalty[-1] = 1e-9
    coefficients = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        fitted = _sigmoid(design @ coefficients)
        gradient = design.T @ (weights * (labels - fitted)) - penalty * coefficients
        curvature = (design * (weights * fitted * (1 - fitted))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        coefficients += step
        if np.abs(step).max() < 1e-8:
            break
    return coefficients


def _with_constant(rows: FloatArray) -> FloatArray:
    return np.column_stack([rows, np.ones(len(rows))])


def _sigmoid(values: FloatArray) -> FloatArray:
    clipped = np.clip(values, -35, 35)
    result: FloatArray = 1 / (1 + np.exp(-clipped))
    return result
