"""Flags, labels and numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from services.drift.domain.statistics.column_shift import (
    category_shift,
    flagged_rate,
    scalar_shift,
    wasserstein,
    wave_evidence,
)
from services.drift.domain.statistics.resampling import Deals


def deals(seed: int = 0, draws: int = 4000) -> Deals:
    """Deals with a fixed seed."""
    return Deals(np.random.default_rng(seed), draws)


def test_wave_evidence_of_typical_risks_is_the_log_likelihood_ratio() -> None:
    """By hand: log(.95 + .05 * r/(1-r)) is log .95 at 0, 0 at .5, log(.95 + .05 * 9) at
    .9.
    """
    assert wave_evidence(np.array([0.0, 0.5, 0.9])) == pytest.approx([np.log(0.95), 0.0, np.log(1.4)])


@given(risks=st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_wave_evidence_is_finite_and_rises_with_risk(risks: list[float]) -> None:
    """Certainty does not make it infinite."""
    evidence = wave_evidence(np.sort(np.array(risks)))
    assert np.isfinite(evidence).all()
    assert (np.diff(evidence) >= 0).all()


def test_flagged_rate_of_flags_agrees_with_fishers_exact_test() -> None:
    """20 of 100 against 8 of 100: scipy's one-sided hypergeometric p-value, and the
    difference of rates as effect.
    """
    rng = np.random.default_rng(1)
    window, baseline = (rng.permutation(np.repeat([1.0, 0.0], [count, 100 - count])) for count in (20, 8))
    reading = flagged_rate(window, baseline, deals=deals(draws=20_000))
    assert reading.p_value == pytest.approx(
        stats.fisher_exact([[20, 80], [8, 92]], alternative="greater").pvalue, abs=0.003
    )
    assert reading.effect == pytest.approx(0.12)
    assert reading.detail == pytest.approx({"window": 0.2, "baseline": 0.08})


def test_flagged_rate_that_falls_raises_no_alarm() -> None:
    """Fewer attacks need nobody's attention."""
    baseline = np.random.default_rng(5).permutation(np.repeat([1.0, 0.0], [60, 240]))
    reading = flagged_rate(np.zeros(300), baseline, deals=deals())
    assert reading.p_value > 0.9
    assert reading.effect == 0.0


def test_categories_agree_with_scipys_g_test() -> None:
    """Observed G as scipy's power divergence has it; p near its chi-square limit;
    effect the total variation, by hand.
    """
    rng = np.random.default_rng(2)
    window, baseline = (
        rng.permutation(np.repeat(["en", "fr", "de"], counts)).tolist()
        for counts in ([380, 90, 30], [430, 50, 20])
    )
    reading = category_shift("language", window, baseline, deals=deals(draws=20_000))
    expected = stats.chi2_contingency([[380, 90, 30], [430, 50, 20]], lambda_="log-likelihood")
    assert reading.detail["g"] == pytest.approx(expected.statistic, rel=1e-4)
    assert reading.p_value == pytest.approx(expected.pvalue, abs=0.002)
    assert reading.effect == pytest.approx(0.1)


def test_flagged_rate_sees_a_burst_within_the_window() -> None:
    """The last 60 of 600 prompts are attacks, all in a row."""
    baseline = (np.random.default_rng(6).random(3000) < 0.02).astype(float)
    window = np.concatenate([baseline[:540], np.ones(60)])
    assert flagged_rate(window, baseline, deals=deals()).p_value < 0.001


def test_a_label_never_seen_before_is_a_change() -> None:
    """No expected count of zero breaks it, and that the new label came in one run does
    not hide it from a long baseline.
    """
    reading = category_shift("language", ["fr"] * 30 + ["en"] * 170, ["en"] * 1000, deals=deals())
    assert reading.p_value < 0.001
    assert reading.detail["fr"] == pytest.approx(0.15)


def test_scalars_effect_is_scipys_wasserstein_in_standard_deviations() -> None:
    """A shift by half a standard deviation has effect .5."""
    rng = np.random.default_rng(3)
    baseline = rng.normal(100, 10, 400)
    reading = scalar_shift("latency", baseline + 5, baseline, deals=deals())
    assert reading.effect == pytest.approx(5 / baseline.std())
    assert reading.detail["wasserstein"] == pytest.approx(stats.wasserstein_distance(baseline + 5, baseline))
    assert reading.p_value < 0.001


def test_scalars_with_few_values_have_scipys_ks_distance() -> None:
    """On ratings every value is on the grid, so the grid's distance is the exact one."""
    window, baseline = np.repeat([1.0, 2.0, 3.0], [50, 30, 20]), np.repeat([1.0, 2.0, 3.0], [30, 30, 40])
    reading = scalar_shift("quality", window, baseline, deals=deals())
    assert reading.detail["ks"] == pytest.approx(stats.ks_2samp(window, baseline).statistic)


def test_scalars_see_a_tail_that_grows() -> None:
    """4 % of latencies ten times as long: too few for KS alone, plain for the
    Wasserstein distance.
    """
    rng = np.random.default_rng(4)
    window, baseline = rng.lognormal(0, 0.5, 1000), rng.lognormal(0, 0.5, 1000)
    window[rng.permutation(1000)[:40]] *= 10
    assert stats.ks_2samp(window, baseline).pvalue > 0.05
    assert scalar_shift("latency", window, baseline, deals=deals()).p_value < 0.005


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40),
)
def test_wasserstein_agrees_with_scipy(left: list[float], right: list[float]) -> None:
    """The same area for any two samples."""
    assert wasserstein(np.array(left), np.array(right)) == pytest.approx(
        stats.wasserstein_distance(left, right), rel=1e-6, abs=1e-6
    )


def test_scalars_that_never_vary_are_not_significant() -> None:
    """A constant column on both sides."""
    reading = scalar_shift("usage", np.full(150, 7.0), np.full(150, 7.0), deals=deals())
    assert (reading.p_value, reading.effect) == (1.0, 0.0)
