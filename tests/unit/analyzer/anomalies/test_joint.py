"""Figures that do not fit each other, the trained model's file, and what a change is due to."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analyzer.anomalies.domain.drivers import Explanation, expected_of_shares, explain
from services.analyzer.anomalies.domain.joint import (
    JointModel,
    deviations,
    dump,
    load,
    score,
    train,
)
from tests.benchmarks.analytics.joint import NAMES, TRAINED, rows_of, traffic

AMOUNTS = st.dictionaries(st.text(max_size=3), st.floats(0, 1e12), max_size=8)


@pytest.fixture(scope="module")
def model() -> JointModel:
    """Of four weeks."""
    found = train(NAMES, rows_of(*traffic(1))[:TRAINED], trained_hour=9)
    assert found is not None
    return found


def test_combination_is_found_of_which_each_figure_alone_is_usual(model: JointModel) -> None:
    """Fewer requests with more tokens: each within what it had in training."""
    observed, expected = traffic(1)
    rows = rows_of(observed, expected)
    changed = observed.copy()
    changed[:, 0] *= 0.85
    changed[:, 1:3] *= 1.25
    planted = rows_of(changed, expected)[TRAINED:]
    within = np.all(np.abs(planted) <= np.abs(rows[:TRAINED]).max(axis=0), axis=1)
    scores = [score(model, row.tolist()) for row in planted[within]]
    assert np.mean([one is not None and one.score >= 3 for one in scores]) > 0.9
    usual = [score(model, row.tolist()) for row in rows[TRAINED:]]
    assert np.mean([one is not None and one.score >= 3 for one in usual]) < 0.02


def test_drivers_name_the_figure_that_does_not_fit_with_what_the_others_let_expect(model: JointModel) -> None:
    """Latency alone is up."""
    row = [0.0, 0.0, 0.0, 0.0, 12.0]
    found = score(model, row)
    assert found is not None
    first = found.drivers[0]
    assert first.name == "latency"
    assert first.observed > 3 > abs(first.expected)
    assert sum(one.share for one in found.drivers) == pytest.approx(1)


def test_score_rises_with_distance_and_is_finite_far_out(model: JointModel) -> None:
    """Beyond what training saw, too."""
    found = [score(model, [step, 0, 0, 0, 0]) for step in (0.0, 1.0, 3.0, 9.0, 29.0, 1e9)]
    scores = [one.score for one in found if one is not None]
    assert scores == sorted(scores)
    assert all(map(math.isfinite, scores))
    assert score(model, [math.nan, 0, 0, 0, 0]) is None
    with pytest.raises(ValueError, match="2 figures for a model of 5"):
        score(model, [1, 2])


def test_model_survives_its_file_exactly(model: JointModel) -> None:
    """JSON keeps each number."""
    assert load(dump(model)) == model


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"names": ["a"]},
        {"hours": 5},
        {"distances": [1.0]},
        {"centre": ["x"] * 5},
        {"precision": [[-1.0 if row == column else 0.0 for column in range(5)] for row in range(5)]},
        {"precision": [[math.nan] * 5] * 5},
        {"precision": 3},
    ],
)
def test_model_that_is_not_whole_is_refused(model: JointModel, change: dict[str, object]) -> None:
    """Rather than that it scores nonsense."""
    with pytest.raises(ValueError, match="train it anew"):
        load(json.dumps(json.loads(dump(model)) | change).encode())


@given(st.binary(max_size=200))
def test_file_of_anything_is_refused(data: bytes) -> None:
    """No pickle: nothing in it is run."""
    with pytest.raises(ValueError, match="train it anew"):
        load(data)
    with pytest.raises(ValueError, match="train it anew"):
        load(b"[" * 100_000)


def test_model_of_too_little_is_none_and_of_equal_figures_works() -> None:
    """Two weeks are needed; a figure that never changed does not spoil the rest."""
    rows = np.random.default_rng(4).normal(size=(400, 3))
    rows[:, 2] = 0
    rows[5, 0] = math.nan
    assert train(("a", "b", "c"), rows[:300], trained_hour=0) is None
    model = train(("a", "b", "c"), rows, trained_hour=0)
    assert model is not None
    assert model.hours == 399
    found = score(model, [0, 0, 5])
    assert found is not None
    assert found.drivers[0].name == "c"


@pytest.mark.parametrize(("names", "columns"), [(("a",), 1), (("a", "a"), 2), (("a", "b"), 3)])
def test_names_that_do_not_fit_are_refused(names: tuple[str, ...], columns: int) -> None:
    """With what is wrong."""
    with pytest.raises(ValueError, match="names"):
        train(names, np.zeros((400, columns)), trained_hour=0)


def test_training_is_repeatable_and_an_attack_in_it_has_little_say() -> None:
    """Nothing is drawn; a twentieth of hostile hours does not hide the like of them."""
    rows = rows_of(*traffic(2))[:TRAINED]
    assert train(NAMES, rows, trained_hour=0) == train(NAMES, rows, trained_hour=0)
    rows[::25, 4] += 20
    model = train(NAMES, rows, trained_hour=0)
    assert model is not None
    clean = [score(model, row.tolist()) for row in rows[1::25]]
    hostile = score(model, [0, 0, 0, 0, 25.0])
    assert hostile is not None
    assert hostile.distance > 5 * max(one.distance for one in clean if one is not None)


def test_deviations_scatter_alike_at_all_heights() -> None:
    """Of a Poisson about 1."""
    chance = np.random.default_rng(5)
    for mean in (5.0, 40.0):
        found = deviations(chance.poisson(mean, 20_000).astype(float), np.full(20_000, mean))
        assert np.std(found) == pytest.approx(1 / math.sqrt(1 + mean / 100), rel=0.1)


def test_change_is_due_to_the_tenant_that_made_it() -> None:
    """And to no model, since both rose alike."""
    usual = {"tenant": {"a": 50.0, "b": 30.0, "c": 20.0}, "model": {"small": 60.0, "large": 40.0}}
    came = {"tenant": {"a": 50.0, "b": 230.0, "c": 20.0}, "model": {"small": 180.0, "large": 120.0}}
    (found,) = explain(came, usual)
    assert found.dimension == "tenant"
    assert [(one.value, one.share) for one in found.contributions] == [("b", 1.0)]


def test_fall_is_due_to_who_is_missing_and_a_newcomer_to_himself() -> None:
    """Both ways, also where one was not known before."""
    (fallen,) = explain({"model": {"a": 100.0, "b": 0.0}}, {"model": {"a": 100.0, "b": 90.0}})
    assert fallen.contributions[0].value == "b"
    (new,) = explain({"user": {"a": 10.0, "x": 500.0}}, {"user": {"a": 10.0}})
    assert (new.contributions[0].value, new.contributions[0].expected) == ("x", 0.0)


def test_change_of_everybody_is_due_to_nobody() -> None:
    """Twenty tenants that doubled."""
    usual = {f"t{number}": 10.0 for number in range(20)}
    assert explain({"tenant": dict.fromkeys(usual, 20.0)}, {"tenant": usual}) == ()


@given(AMOUNTS, AMOUNTS)
def test_explanation_of_any_sums_is_of_two_thirds_by_five_at_most(
    came: dict[str, float], usual: dict[str, float]
) -> None:
    """Or there is none."""
    for one in explain({"x": came}, {"x": usual}):
        assert isinstance(one, Explanation)
        assert one.share > 0.66
        assert 1 <= len(one.contributions) <= 5
        assert math.isfinite(one.surprise)


def test_sums_that_are_none_are_refused() -> None:
    """Not a number, less than nothing."""
    for wrong in (math.nan, -1.0, math.inf):
        with pytest.raises(ValueError, match="sums of tenant"):
            explain({"tenant": {"a": wrong, "b": 1}}, {"tenant": {"a": 1, "b": 1}})
    assert expected_of_shares(10, {"a": 3, "b": 1}) == {"a": 7.5, "b": 2.5}
    assert expected_of_shares(10, {"a": 0}) == {}
