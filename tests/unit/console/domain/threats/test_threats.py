"""Users who turn critical, held against what was drawn."""

import math
import random

import pytest

from services.console.domain.threats import turning
from services.console.domain.threats.turning import DAY_S, Example, Found, examples, features, learn


def test_features_do_not_look_ahead() -> None:
    """What comes after the time changes nothing."""
    past = [Found(DAY_S * day, "jailbreak", "high", 13.0) for day in range(5)]
    later = [*past, Found(DAY_S * 5 + 1, "probing", "critical", 28.0)]
    assert features(past, DAY_S * 5) == features(later, DAY_S * 5)
    assert features(past, DAY_S * 5) != features(later, DAY_S * 5 + 1)


def test_examples_say_what_came_within_a_day_and_leave_out_what_is_not_known_yet() -> None:
    """A critical finding 20 hours later counts, one 30 hours later does not."""
    found = [Found(3600.0 * 12, "jailbreak", "high", 13.0), Found(3600.0 * 40, "jailbreak", "critical", 25.0)]
    made = examples(found, 3600.0 * 72)
    assert {one.at_s / 3600: one.turned for one in made} == {
        12: False, 18: True, 24: True, 30: True, 36: True, 42: False, 48: False,
    }  # fmt: skip
    assert examples([], 1e9) == []


def test_regression_is_that_of_a_known_model() -> None:
    """The weights that the examples were drawn from."""
    chance = random.Random(3)
    rows = [(chance.gauss(0, 1), chance.gauss(0, 1), 1.0) for _ in range(6000)]
    drawn = [float(chance.random() < 1 / (1 + math.exp(-(1.5 * a - 0.7 * b - 1)))) for a, b, _ in rows]
    assert turning._regress(rows, drawn, 1e-6) == pytest.approx((1.5, -0.7, -1.0), abs=0.12)


def _drawn_examples(count: int, *, inverted: bool = False) -> list[Example]:
    chance = random.Random(9)
    made = []
    for number in range(count):
        heat = chance.random()
        flip = -1 if inverted and number > count * 0.6 else 1
        turned = chance.random() < 1 / (1 + math.exp(-(6 * (heat - 0.8) * flip)))
        made.append(Example(float(number), (heat,) * 9, turned))
    return made


def test_chances_come_true_as_often_as_they_say() -> None:
    """On what the model did not see, in five parts."""
    known = _drawn_examples(8000)
    learnt = learn(known)
    assert learnt is not None
    model, quality = learnt
    assert quality.skill > 0.05
    unseen = sorted(known[6400:], key=lambda one: model.chance(one.row))
    for part in range(5):
        some = unseen[part * 320 : part * 320 + 320]
        told = sum(model.chance(one.row) for one in some) / 320
        assert sum(one.turned for one in some) / 320 == pytest.approx(told, abs=0.09)


def test_model_that_later_examples_contradict_says_no_more_than_the_share() -> None:
    """A world that has changed: no user is called more likely than another."""
    learnt = learn(_drawn_examples(4000, inverted=True))
    assert learnt is not None
    model, _ = learnt
    assert model.chance((0.0,) * 9) == pytest.approx(model.chance((1.0,) * 9))


def test_too_few_who_turned_are_no_model() -> None:
    """It would be made of chance."""
    calm = [Example(float(number), (0.1,) * 9, number % 200 == 0) for number in range(2000)]
    assert learn(calm) is None
    assert learn([]) is None
