"""How far neighbours resemble one another, and how traffic is cut accordingly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.drift.domain.statistics.dependence import autocorrelations, plan_blocks
from tests.unit.drift.series import autoregressive


def test_autocorrelations_of_an_ar1_series_follow_its_coefficient() -> None:
    """R(k) of an AR(1) series with coefficient a is a^k (Box and Jenkins, 3.2)."""
    series = autoregressive(40_000, 0.6, seed=1)[:, None]
    measured = autocorrelations(series)
    assert measured[:4] == pytest.approx([1, 0.6, 0.36, 0.216], abs=0.03)


def test_autocorrelations_of_independent_values_stop_at_once() -> None:
    """No lag stands out of the noise, so none is kept."""
    rng = np.random.default_rng(2)
    assert autocorrelations(rng.normal(size=(600, 8))).tolist() == [1.0]


def test_plan_of_independent_values_has_fine_blocks_and_no_inflation() -> None:
    """100 blocks in the smaller stretch, blocks of the same length in the other."""
    rng = np.random.default_rng(3)
    plan = plan_blocks(rng.normal(size=(1000, 1)), rng.normal(size=(3000, 1)))
    assert (plan.window_blocks, plan.baseline_blocks, plan.inflation) == (100, 300, 1.0)


def test_plan_of_a_short_window_and_a_long_baseline_bounds_the_blocks() -> None:
    """At most about a thousand blocks in all."""
    rng = np.random.default_rng(4)
    plan = plan_blocks(rng.normal(size=(200, 1)), rng.normal(size=(5000, 1)))
    assert plan.window_blocks + plan.baseline_blocks <= 1050


def test_plan_of_dependent_values_has_longer_blocks() -> None:
    """Blocks of an AR(1) series with coefficient .7 miss at most about 10 % of its
    long-run variance, and the plan makes up for it.
    """
    plan = plan_blocks(autoregressive(1000, 0.7, seed=5)[:, None], autoregressive(1000, 0.7, seed=6)[:, None])
    assert 16 <= plan.window_blocks <= 50
    assert 1.02 < plan.inflation < 1.25


def test_plan_of_many_dimensions_sees_dependence_that_few_of_them_carry() -> None:
    """Two of 300 dimensions are autocorrelated and vary most: the blocks are cut for
    them.
    """
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(2000, 300)) * 0.1
    rows[:, 0], rows[:, 1] = autoregressive(2000, 0.8, seed=8), autoregressive(2000, 0.8, seed=9)
    assert plan_blocks(rows[:1000], rows[1000:]).window_blocks < 50


def test_plan_ignores_a_burst_in_the_window() -> None:
    """A hundred attacks in a row are a change to be found, not dependence to be
    excused.
    """
    rng = np.random.default_rng(10)
    burst = np.repeat([0.0, 1.0], [900, 100])[:, None]
    baseline = (rng.random((1000, 1)) < 0.02).astype(float)
    assert plan_blocks(burst, baseline) == plan_blocks(baseline, baseline)


def test_plan_of_a_constant_column_is_finest() -> None:
    """A column without any variation has no dependence to respect."""
    assert plan_blocks(np.ones((300, 1)), np.ones((300, 1))).window_blocks == 100


@settings(max_examples=30, deadline=None)
@given(
    window=st.integers(100, 400),
    baseline=st.integers(100, 900),
    coefficient=st.floats(-0.9, 0.97),
    seed=st.integers(0, 1000),
)
def test_plan_is_always_within_its_bounds(window: int, baseline: int, coefficient: float, seed: int) -> None:
    """Whatever the traffic: enough blocks for a small p-value, never more blocks than
    requests, never a narrowed null.
    """
    plan = plan_blocks(
        autoregressive(window, coefficient, seed=seed)[:, None],
        autoregressive(baseline, coefficient, seed=seed + 1)[:, None],
    )
    assert min(plan.window_blocks, plan.baseline_blocks) >= 10
    assert plan.window_blocks <= window
    assert plan.baseline_blocks <= baseline
    assert plan.inflation >= 1.0
