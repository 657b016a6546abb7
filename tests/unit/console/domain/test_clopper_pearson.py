"""The exact interval of a share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from services.console.domain.clopper_pearson import beta_chance, clopper_pearson


@pytest.mark.parametrize(
    ("hits", "total", "wanted"),
    [
        (0, 10, (0.0, 0.3085)),  # Clopper and Pearson (1934); the same in Brown, Cai and DasGupta (2001)
        (10, 10, (0.6915, 1.0)),
        (5, 10, (0.1871, 0.8129)),
        (1, 100, (0.0003, 0.0545)),
    ],
)
def test_interval_is_the_published_one(hits: int, total: int, wanted: tuple[float, float]) -> None:
    """At 95 %, to the fourth decimal."""
    low, high = clopper_pearson(hits, total, 0.95)
    assert (round(low, 4), round(high, 4)) == wanted


@given(st.integers(0, 3000), st.integers(0, 3000), st.floats(0.5, 0.9999))
def test_interval_is_as_scipy_has_it(hits: int, others: int, confidence: float) -> None:
    """By the quantiles of the Beta distribution."""
    total, tail = hits + others, (1 - confidence) / 2
    low, high = clopper_pearson(hits, total, confidence)
    assert low == pytest.approx(beta.ppf(tail, hits, others + 1) if hits else 0, abs=1e-9)
    assert high == pytest.approx(beta.ppf(1 - tail, hits + 1, others) if others else 1, abs=1e-9)


@given(st.floats(-1, 2), st.floats(0.1, 1e5), st.floats(0.1, 1e5))
def test_chance_is_one_whatever_it_is_asked(share: float, a: float, b: float) -> None:
    """Between 0 and 1, up to rounding."""
    assert -1e-9 <= beta_chance(share, a, b) <= 1 + 1e-9


@pytest.mark.parametrize(("hits", "total", "confidence"), [(-1, 3, 0.9), (4, 3, 0.9), (1, 3, 0), (1, 3, 1)])
def test_what_is_no_share_is_refused(hits: int, total: int, confidence: float) -> None:
    """With what is wrong."""
    with pytest.raises(ValueError, match="must be"):
        clopper_pearson(hits, total, confidence)
