"""ADWIN on a stream, and the point at which a series changed."""

import numpy as np
import pytest

from services.drift.domain.statistics.change_point import find_change
from services.drift.domain.statistics.streams import MeanWatch, mean_changes
from tests.unit.drift.series import autoregressive


def test_watch_sees_a_step_and_says_from_what_to_what() -> None:
    """Flags rise from 2 % to 30 % after 1000 requests."""
    rng = np.random.default_rng(1)
    flags = np.concatenate([rng.random(1000) < 0.02, rng.random(600) < 0.3]).astype(float)
    changes = mean_changes(flags, MeanWatch(low=0.0, high=1.0))
    assert changes
    assert 1000 < changes[0].position < 1200
    assert changes[0].mean_before < 0.1 < changes[0].mean_after


def test_watch_of_a_steady_stream_is_silent() -> None:
    """20,000 requests without a change."""
    values = np.random.default_rng(2).normal(300, 50, 20_000)
    assert mean_changes(values, MeanWatch.for_baseline(values[:2000])) == []


def test_watch_means_over_blocks_count_single_requests() -> None:
    """Positions are those of requests, and a change is seen at the end of a block."""
    values = np.concatenate([np.zeros(3000), np.ones(3000)])
    changes = mean_changes(values, MeanWatch(low=0.0, high=1.0, block=10))
    assert changes[0].position % 10 == 0
    assert 3000 < changes[0].position < 3600


def test_watch_of_a_constant_baseline_still_has_limits() -> None:
    """Never a flag so far: the first flags are a change, not a division by zero."""
    watch = MeanWatch.for_baseline(np.zeros(500))
    assert mean_changes(np.concatenate([np.zeros(1000), np.ones(300)]), watch)


@pytest.mark.parametrize("limits", [{"low": 1.0, "high": 1.0}, {"low": 0.0, "high": 1.0, "block": 0}])
def test_watch_refuses_impossible_limits(limits: dict[str, float]) -> None:
    """A clear message at the start instead of NaN later."""
    with pytest.raises(ValueError, match="got"):
        MeanWatch(**limits)  # type: ignore[arg-type]


def test_change_point_finds_where_the_mean_moved() -> None:
    """A step of one standard deviation after 300 of 500."""
    rng = np.random.default_rng(3)
    found = find_change(np.concatenate([rng.normal(0, 1, 300), rng.normal(1, 1, 200)]), rng=rng)
    assert found.index == pytest.approx(300, abs=15)
    assert found.p_value < 0.01
    assert found.mean_after - found.mean_before == pytest.approx(1.0, abs=0.25)


def test_change_point_of_a_series_without_noise_is_exact() -> None:
    """By hand: the CUSUM statistic of a clean step is largest at the step."""
    found = find_change(np.repeat([0.0, 1.0], [70, 30]), rng=np.random.default_rng(4))
    assert (found.index, found.mean_before, found.mean_after) == (70, 0.0, 1.0)


def test_change_point_of_autocorrelated_noise_is_rarely_significant() -> None:
    """AR(1) with coefficient .7 wanders; shuffled one by one it would look changed in
    most series, by blocks in few.
    """
    p_values = [
        find_change(autoregressive(400, 0.7, seed=seed), rng=np.random.default_rng(seed)).p_value
        for seed in range(20)
    ]
    assert sum(p <= 0.05 for p in p_values) <= 4


def test_change_point_refuses_what_it_cannot_judge() -> None:
    """Too short, or with gaps."""
    rng = np.random.default_rng(5)
    with pytest.raises(ValueError, match="39 values"):
        find_change(np.zeros(39), rng=rng)
    with pytest.raises(ValueError, match="1 NaN"):
        find_change(np.append(np.zeros(60), np.nan), rng=rng)
