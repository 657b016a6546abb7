"""The engine: block sums, deals, p-values."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.drift.domain.statistics.dependence import BlockPlan
from services.drift.domain.statistics.resampling import Deals, block_sizes, resample, sum_blocks
from services.drift.domain.windows import FloatArray


def absolute(differences: FloatArray) -> FloatArray:
    """Size of a difference of one feature."""
    return np.abs(differences[:, 0])


def column(values: list[float]) -> FloatArray:
    """One feature, one request a row."""
    return np.array(values, dtype=np.float32)[:, None]


@given(count=st.integers(1, 500), blocks=st.integers(1, 500))
def test_block_sizes_add_up_and_differ_by_one_at_most(count: int, blocks: int) -> None:
    """Every request is in exactly one block."""
    blocks = min(blocks, count)
    sizes = block_sizes(count, blocks)
    assert sizes.sum() == count
    assert len(sizes) == blocks
    assert sizes.max() - sizes.min() <= 1


def test_sum_blocks_adds_neighbours() -> None:
    """Six requests in three blocks of two."""
    sums = sum_blocks(column([1, 2, 3, 4, 5, 6]), 3)
    assert sums.values[:, 0].tolist() == [3, 7, 11]
    assert sums.mean.tolist() == [3.5]


def test_p_value_agrees_with_all_permutations_enumerated() -> None:
    """Four against five: the share of the 126 deals that are at least as extreme,
    counted by hand of itertools.
    """
    window, baseline = [2.6, 3.3, 2.9, 4.0], [1.0, 2.0, 1.7, 2.5, 0.4]
    pooled = np.array(window + baseline)
    observed = abs(np.mean(window) - np.mean(baseline))
    extreme = [
        abs(pooled[list(chosen)].mean() - np.delete(pooled, chosen).mean()) >= observed - 1e-9
        for chosen in combinations(range(9), 4)
    ]
    plan = BlockPlan(4, 5)
    outcome = resample(
        sum_blocks(column(window), 4),
        sum_blocks(column(baseline), 5),
        plan=plan,
        statistic=absolute,
        deals=Deals(np.random.default_rng(0), 20_000),
    )
    assert outcome.p_value == pytest.approx(np.mean(extreme), abs=0.004)
    assert outcome.observed[0] == pytest.approx(observed, rel=1e-5)


def test_p_value_when_nothing_differs_is_one() -> None:
    """Ties count as exceedances: identical requests can never be significant."""
    sums = sum_blocks(column([1.0] * 40), 40)
    outcome = resample(
        sums, sums, plan=BlockPlan(40, 40), statistic=absolute, deals=Deals(np.random.default_rng(0), 500)
    )
    assert outcome.p_value == 1.0


def test_p_value_of_a_clear_difference_is_the_smallest_possible() -> None:
    """No deal reaches what was observed: p = 1 / (1 + draws), never 0."""
    rng = np.random.default_rng(1)
    window, baseline = (
        rng.normal(3, 1, (60, 1)).astype(np.float32),
        rng.normal(0, 1, (60, 1)).astype(np.float32),
    )
    outcome = resample(
        sum_blocks(window, 60),
        sum_blocks(baseline, 60),
        plan=BlockPlan(60, 60),
        statistic=absolute,
        deals=Deals(rng, 1500),
    )
    assert outcome.p_value == 1 / 1501
    assert outcome.draws == 1500


def test_drawing_stops_early_when_the_p_value_cannot_matter() -> None:
    """The first look settles it."""
    rng = np.random.default_rng(2)
    same = rng.normal(size=(60, 1)).astype(np.float32)
    outcome = resample(
        sum_blocks(same, 60),
        sum_blocks(same[::-1].copy(), 60),
        plan=BlockPlan(60, 60),
        statistic=absolute,
        deals=Deals(rng, 50_000),
    )
    assert outcome.draws == 200
    assert outcome.p_value > 0.05


def test_inflation_widens_the_null() -> None:
    """The same observation is less surprising where blocks miss some of the variance."""
    rng = np.random.default_rng(3)
    sums = (
        sum_blocks(rng.normal(0.6, 1, (50, 1)).astype(np.float32), 50),
        sum_blocks(rng.normal(0, 1, (50, 1)).astype(np.float32), 50),
    )
    p_values = [
        resample(
            *sums,
            plan=BlockPlan(50, 50, inflation),
            statistic=absolute,
            deals=Deals(np.random.default_rng(4), 5000),
        ).p_value
        for inflation in (1.0, 2.0)
    ]
    assert p_values[0] < p_values[1]


def test_several_statistics_give_one_valid_p_value() -> None:
    """Under the null the combined p-value is below 10 % in about 10 % of the cases,
    though the best of two statistics is taken.
    """
    rng = np.random.default_rng(5)
    deals = Deals(rng, 199)

    def two(differences: FloatArray) -> FloatArray:
        return np.abs(differences)

    def trial() -> float:
        parts = rng.normal(size=(2, 40, 2)).astype(np.float32)
        return resample(
            sum_blocks(parts[0], 40),
            sum_blocks(parts[1], 40),
            plan=BlockPlan(40, 40),
            statistic=two,
            deals=deals,
        ).p_value

    assert np.mean([trial() <= 0.1 for _ in range(600)]) == pytest.approx(0.1, abs=0.035)


def test_deals_are_shared_by_tests_of_the_same_shape() -> None:
    """The second test sees the very same matrices, and each row deals the right number
    of blocks.
    """
    deals = Deals(np.random.default_rng(6), 1500)
    first, again = (list(deals.chunks(BlockPlan(7, 20))) for _ in range(2))
    assert [len(chunk) for chunk in first] == [200, 1000, 300]
    assert all(one is other for one, other in zip(first, again, strict=True))
    assert all((chunk.sum(axis=1) == 7).all() for chunk in first)


def test_deals_keep_a_bounded_number_of_chunks() -> None:
    """A check at a tiny alpha draws hundreds of thousands: the later ones are drawn
    anew instead of filling the memory.
    """
    deals = Deals(np.random.default_rng(7), 9000)
    first, again = (list(deals.chunks(BlockPlan(3, 4))) for _ in range(2))
    assert sum(map(len, first)) == sum(map(len, again)) == 9000
    assert [one is other for one, other in zip(first, again, strict=True)] == [True] * 6 + [False] * 4
