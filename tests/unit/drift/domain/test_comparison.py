"""The whole family of tests on a window and its baseline."""

import numpy as np
import pytest

from services.drift.domain.comparison import SMALLEST, compare, draws_for
from services.drift.domain.severity import EFFECT_LINES, Severity, severity_of
from services.drift.domain.windows import Window, cut, latest


def traffic(
    count: int, *, seed: int, attacks: float = 0.02, french: float = 0.1, latency: float = 300.0
) -> Window:
    """Random traffic with every column."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 16))
    return Window(
        embeddings=(rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32),
        risk=(rng.random(count) < attacks).astype(float),
        categories={"language": np.where(rng.random(count) < french, "fr", "en").tolist()},
        scalars={
            "latency": rng.lognormal(np.log(latency), 0.3, count),
            "quality": np.where(rng.random(count) < 0.5, np.nan, rng.random(count)),
        },
    )


def test_unchanged_traffic_has_no_drift_but_all_its_readings() -> None:
    """Seven verdicts, none significant, severity none, an effect beside every p-value."""
    found = compare(traffic(400, seed=1), traffic(800, seed=2), rng=np.random.default_rng(0))
    assert [verdict.reading.test for verdict in found.verdicts] == [
        "mean_distance",
        "mmd",
        "drifted_share",
        "flagged_rate",
        "language",
        "latency",
        "quality",
    ]
    assert not found.drifted
    assert found.severity == Severity.NONE
    assert all(
        verdict.reading.effect >= 0 and verdict.adjusted_p >= verdict.reading.p_value
        for verdict in found.verdicts
    )


def test_each_changed_column_is_named_and_no_other() -> None:
    """More French and slower answers: language and latency, graded by how much they
    changed.
    """
    found = compare(
        traffic(600, seed=3, french=0.3, latency=450), traffic(800, seed=4), rng=np.random.default_rng(0)
    )
    significant = {
        verdict.reading.test: verdict.severity
        for verdict in found.verdicts
        if verdict.adjusted_p <= found.alpha
    }
    assert significant == {"language": Severity.HIGH, "latency": Severity.CRITICAL}
    assert found.severity == Severity.CRITICAL


def test_the_same_seed_gives_the_same_verdicts() -> None:
    """Randomness is an argument."""
    results = [
        compare(traffic(200, seed=5), traffic(300, seed=6), rng=np.random.default_rng(9)) for _ in range(2)
    ]
    assert results[0] == results[1]


def test_columns_with_too_few_requests_are_skipped_with_the_reason() -> None:
    """Said, not silently left out; NaN do not count."""
    window, baseline = traffic(SMALLEST, seed=7), traffic(500, seed=8)
    found = compare(window, baseline, rng=np.random.default_rng(0))
    assert list(found.skipped) == ["quality"]
    assert f"needs {SMALLEST}" in found.skipped["quality"]
    assert "latency" in [verdict.reading.test for verdict in found.verdicts]


def test_a_column_that_only_one_side_has_is_skipped() -> None:
    """A new column has no baseline yet."""
    found = compare(
        Window(scalars={"usage": np.ones(200)}), Window(risk=np.zeros(200)), rng=np.random.default_rng(0)
    )
    assert set(found.skipped) == {"usage", "flagged_rate"}
    assert found.verdicts == ()
    assert not found.drifted
    assert found.severity == Severity.NONE


def test_draws_let_the_smallest_p_value_pass_holms_first_step() -> None:
    """1 / (1 + draws) must lie below alpha / tests."""
    for alpha in (0.01, 0.0003):
        assert 1 / (1 + draws_for(alpha, 9)) < alpha / 9


def test_severity_follows_the_effect_alone() -> None:
    """On a line counts as beyond it."""
    medium, high, critical = EFFECT_LINES["flagged_rate"]
    assert [severity_of("flagged_rate", effect) for effect in (0.0, medium, high, critical)] == [
        Severity.LOW,
        Severity.MEDIUM,
        Severity.HIGH,
        Severity.CRITICAL,
    ]
    assert severity_of("latency", 0.5) == Severity.HIGH


def test_a_trifle_in_much_traffic_is_significant_and_low() -> None:
    """20,000 requests prove a shift of a twentieth of a standard deviation; it is still
    a trifle.
    """
    rng = np.random.default_rng(10)
    found = compare(
        Window(scalars={"usage": rng.normal(0.06, 1, 20_000)}),
        Window(scalars={"usage": rng.normal(0, 1, 20_000)}),
        rng=rng,
    )
    assert found.drifted
    assert found.severity == Severity.LOW


def test_window_refuses_columns_of_different_lengths() -> None:
    """They would describe different requests."""
    with pytest.raises(ValueError, match="one entry per request"):
        Window(risk=np.zeros(3), scalars={"latency": np.zeros(4)})


def test_window_refuses_flat_embeddings() -> None:
    """One row per request is expected."""
    with pytest.raises(ValueError, match="shape"):
        Window(embeddings=np.zeros(5))


def test_window_refuses_embeddings_that_are_not_finite() -> None:
    """NaN compares with nothing, and so would look more extreme than everything."""
    with pytest.raises(ValueError, match="NaN or infinity"):
        Window(embeddings=np.full((3, 2), np.nan))


def test_window_refuses_infinite_scalars() -> None:
    """The column is named."""
    with pytest.raises(ValueError, match="latency"):
        Window(scalars={"latency": np.array([1.0, np.inf])})


def test_prompts_without_a_risk_leave_only_that_test() -> None:
    """NaN is a prompt that the detector has not seen."""
    rng = np.random.default_rng(12)
    risk = np.where(rng.random(400) < 0.5, np.nan, 0.1)
    found = compare(Window(risk=risk), Window(risk=np.full(400, 0.1)), rng=rng)
    assert [(verdict.reading.test, verdict.reading.p_value) for verdict in found.verdicts] == [
        ("flagged_rate", 1.0)
    ]


def test_cut_and_latest_take_all_columns_alike() -> None:
    """The last three of ten, and all when more are asked for."""
    window = traffic(10, seed=11)
    last = latest(window, 3)
    assert len(last) == 3
    assert last.categories["language"] == window.categories["language"][7:]
    assert np.array_equal(cut(window, 7, 10).scalars["latency"], last.scalars["latency"])
    assert len(latest(window, 99)) == 10
    assert len(Window()) == 0
