"""Mean distance, MMD, drifted share."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from services.drift.domain.statistics.dependence import BlockPlan
from services.drift.domain.statistics.embedding_shift import (
    classic_drifted_share,
    drifted_share,
    embedding_readings,
    fourier_features,
    gaussian_kernel,
    mean_distance,
    median_distance,
    mmd,
)
from services.drift.domain.statistics.resampling import Deals
from services.drift.domain.windows import FloatArray


def deals(seed: int = 0, draws: int = 2000) -> Deals:
    """Deals with a fixed seed."""
    return Deals(np.random.default_rng(seed), draws)


def unit_rows(count: int, *, seed: int, towards: float = 0.0, share: float = 1.0) -> FloatArray:
    """Random unit vectors in 24 dimensions, a share of them pulled towards the first
    axis.
    """
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 24))
    rows[rng.random(count) < share, 0] += towards
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_mean_distance_is_the_distance_of_the_means() -> None:
    """Against NumPy directly; unchanged traffic of 400 is not significant and its
    effect beyond chance is small.
    """
    window, baseline = unit_rows(400, seed=1), unit_rows(400, seed=2)
    reading = mean_distance(window, baseline, plan=BlockPlan(100, 100), deals=deals())
    assert reading.detail["distance"] == pytest.approx(
        np.linalg.norm(window.mean(axis=0) - baseline.mean(axis=0)), rel=1e-4
    )
    assert reading.p_value > 0.05
    assert reading.effect < 0.05


def test_mean_distance_effect_does_not_depend_on_the_number_of_requests() -> None:
    """What chance adds at small n is taken off: the same shift reads about the same at
    200 and at 4000.
    """
    effects = [
        mean_distance(
            unit_rows(n, seed=3, towards=2.0), unit_rows(n, seed=4), plan=BlockPlan(100, 100), deals=deals()
        ).effect
        for n in (200, 4000)
    ]
    assert effects[0] == pytest.approx(effects[1], rel=0.15)


def test_mmd_by_the_kernel_matrix_is_the_textbook_value() -> None:
    """Gretton et al.

    2012, equation 5 (the biased estimate), kernel sums by SciPy's distances.
    """
    window, baseline = unit_rows(120, seed=5, towards=1.0), unit_rows(160, seed=6)
    reading = mmd(window, baseline, plan=BlockPlan(60, 80), deals=deals())
    scale = 2 * reading.detail["bandwidth"] ** 2
    within = [np.exp(-cdist(rows, rows, "sqeuclidean") / scale).mean() for rows in (window, baseline)]
    across = np.exp(-cdist(window, baseline, "sqeuclidean") / scale).mean()
    assert reading.detail["mmd"] == pytest.approx(np.sqrt(sum(within) - 2 * across), rel=1e-3)
    assert reading.p_value < 0.01


def test_mmd_by_random_features_is_near_the_kernel_matrix() -> None:
    """800 requests go by the matrix, 801 by features: within the sampling error of 192
    frequencies it is the same.
    """
    window, baseline = unit_rows(400, seed=7, towards=1.5), unit_rows(401, seed=8)
    exact = mmd(window, baseline[:400], plan=BlockPlan(60, 60), deals=deals()).detail["mmd"]
    assert mmd(window, baseline, plan=BlockPlan(60, 60), deals=deals()).detail["mmd"] == pytest.approx(
        exact, rel=0.1
    )


def test_mmd_sees_a_change_of_spread_that_leaves_the_mean() -> None:
    """Two opposite new topics cancel in the mean; the kernel sees them."""
    rng = np.random.default_rng(9)
    window, baseline = rng.normal(0, 1.0, (300, 8)), rng.normal(0, 1.0, (300, 8))
    window[:150, 0] += 2.0
    window[150:, 0] -= 2.0
    window = rng.permutation(window)
    assert (
        mean_distance(
            window.astype(np.float32), baseline.astype(np.float32), plan=BlockPlan(100, 100), deals=deals()
        ).p_value
        > 0.01
    )
    assert (
        mmd(
            window.astype(np.float32), baseline.astype(np.float32), plan=BlockPlan(100, 100), deals=deals()
        ).p_value
        < 0.001
    )


def test_median_distance_agrees_with_scipy() -> None:
    """On few rows all pairs are looked at."""
    window, baseline = unit_rows(60, seed=10), unit_rows(70, seed=11)
    assert median_distance(window, baseline) == pytest.approx(
        np.median(pdist(np.concatenate([window, baseline]))), rel=1e-4
    )


def test_fourier_features_estimate_the_kernel() -> None:
    """Rahimi and Recht: inner products within a few hundredths at 4000 frequencies."""
    rows = unit_rows(40, seed=12)
    frequencies = np.random.default_rng(13).standard_normal((24, 4000), dtype=np.float32) / np.float32(0.8)
    features = fourier_features(rows, frequencies)
    assert np.abs(features @ features.T - gaussian_kernel(rows, rows, 0.8)).max() < 0.08


def test_drifted_share_counts_the_dimensions_that_moved() -> None:
    """6 of 24 dimensions are shifted by one standard deviation."""
    rng = np.random.default_rng(14)
    window, baseline = (
        rng.normal(size=(400, 24)).astype(np.float32),
        rng.normal(size=(400, 24)).astype(np.float32),
    )
    window[:, :6] += 1.0
    reading = drifted_share(window, baseline, plan=BlockPlan(100, 100), deals=deals())
    assert reading.detail["share"] == pytest.approx(0.25, abs=0.09)
    assert reading.p_value < 0.002
    assert classic_drifted_share(window, baseline) == pytest.approx(0.25, abs=0.09)


def test_unchanged_traffic_is_rarely_significant() -> None:
    """Over 100 pairs each test is below 5 % in about 5 % of them (at most 13 with 99.9
    % certainty, binomial).
    """
    low = dict.fromkeys(("mean_distance", "mmd", "drifted_share"), 0)
    shared = deals(draws=199)
    for seed in range(100):
        for reading in embedding_readings(
            unit_rows(100, seed=2 * seed + 1000), unit_rows(100, seed=2 * seed + 1001), deals=shared
        ):
            low[reading.test] += reading.p_value <= 0.05
    assert all(hits <= 13 for hits in low.values()), low
    assert low["mean_distance"] >= 1
