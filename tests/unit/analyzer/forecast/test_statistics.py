"""The counts' distribution, held against another library."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from services.analyzer.statistics.hourly_counts import fit
from services.analyzer.statistics.negative_binomial import log_chance


@given(st.integers(0, 400), st.floats(0.01, 500), st.floats(0.1, 300))
def test_chance_is_scipys(count: int, mean: float, shape: float) -> None:
    """The same distribution by its own parameters."""
    expected = stats.nbinom.logpmf(count, shape, shape / (shape + mean))
    assert log_chance(count, mean, shape) == pytest.approx(float(expected), rel=1e-6, abs=1e-6)


def test_history_without_a_count_is_refused() -> None:
    """There is nothing to go by."""
    with pytest.raises(ValueError, match="at least one hour"):
        fit([], 0)
