"""What follows from what was read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import PolicyChanged
from schemas.events.security import PromptRisk
from schemas.inference import InferenceRequested
from services.common.control.thresholds import DEFAULT_THRESHOLDS, LEVELS
from services.detection.prompt_attacks.detector import DetectorConfig
from services.gateway.admission.inspection.reading import (
    AGREEING_POINTS,
    Judgement,
    Read,
    Reading,
    risk_of,
    undecided,
)
from services.gateway.problems import risk_headers
from tests.unit.gateway.admission.inspection.scene import asked

VERSIONS = ("model", "rules")


def rated(risk: PromptRisk | None) -> InferenceRequested:
    """A request that was judged so."""
    return asked("x").model_copy(update={"risk": risk})


def read(score: float, *, points: float = 0.0, judged: float | None = None) -> Read:
    """One text that was read."""
    judgements = {} if judged is None else {"t": Judgement(judged, 0.5, ("b",))}
    return Read(["t"], {"t": Reading(score, points, -5.0, ("a",))}, judgements)


def test_thresholds_are_the_detectors_own() -> None:
    """The library and the gateway agree where nobody says otherwise."""
    config = DetectorConfig()
    assert (config.low, config.medium, config.high, config.critical) == DEFAULT_THRESHOLDS
    assert config.agreeing_points == AGREEING_POINTS


@pytest.mark.parametrize(
    ("mode", "block_at", "score", "action"),
    [
        ("block", "critical", 30, "blocked"),
        ("block", "critical", 19.9, "flagged"),
        ("block", "critical", 11.9, "allowed"),
        ("block", "high", 12, "blocked"),
        ("block", "low", 3, "blocked"),
        ("block", "low", 2.9, "allowed"),
        ("flag", "critical", 30, "flagged"),
        ("flag", "low", 11, "allowed"),
        ("observe", "critical", 30, "allowed"),
    ],
)
def test_action_is_the_policys(mode: str, block_at: str, score: float, action: str) -> None:
    """Critical is blocked and high flagged by default; observing does nothing."""
    policy = PolicyChanged.model_validate({"prompt_attacks": mode, "block_at": block_at})
    assert risk_of(read(score), policy, DEFAULT_THRESHOLDS, VERSIONS).action == action


def test_risk_is_the_models_where_it_judged() -> None:
    """Both ways: it knows more than the rules."""
    policy = PolicyChanged()
    for judged in (0.0, 30.0):
        found = risk_of(read(15, points=15, judged=judged), policy, DEFAULT_THRESHOLDS, VERSIONS)
        assert (found.score, found.depth, found.detector_version) == (judged, "model", "model")
        assert found.categories == ("b",)
    found = risk_of(read(15, points=15), policy, DEFAULT_THRESHOLDS, VERSIONS)
    assert (found.depth, found.detector_version, found.rules_version) == ("rules", "", "rules")


def test_risk_of_what_could_not_be_read_says_so() -> None:
    """Nothing read is no innocence."""
    found = risk_of(Read(["t"], {}, {}), PolicyChanged(), DEFAULT_THRESHOLDS, VERSIONS)
    assert (found.depth, found.partial, found.rules_version) == ("none", True, "")
    assert risk_headers([rated(found), rated(None)]) == ()


@pytest.mark.parametrize(
    ("points", "block_at", "mode", "decides"),
    [
        (AGREEING_POINTS, "critical", "block", True),
        (AGREEING_POINTS - 0.1, "critical", "block", False),
        (0.5, "high", "block", True),
        (0.0, "high", "block", False),
        (9.0, "critical", "flag", False),
    ],
)
def test_model_decides_only_where_it_could_make_the_difference(
    points: float, block_at: str, mode: str, *, decides: bool
) -> None:
    """Everybody else's prompt need not wait long for it."""
    policy = PolicyChanged.model_validate({"prompt_attacks": mode, "block_at": block_at})
    expected = ["t"] if decides else []
    assert undecided(read(points, points=points), policy, DEFAULT_THRESHOLDS) == expected
    assert not undecided(read(points, points=points, judged=0.0), policy, DEFAULT_THRESHOLDS)


def test_decoys_do_not_keep_the_model_from_an_attack() -> None:
    """However many texts look worse, each that could be blocked is decided on."""
    texts = [f"t{number}" for number in range(20)]
    readings = {text: Reading(10, 20.0 - number, 0.0) for number, text in enumerate(texts)}
    found = Read(texts, readings, {text: Judgement(0, 0) for text in texts[:3]})
    assert undecided(found, PolicyChanged(), DEFAULT_THRESHOLDS) == texts[3:16]


@given(st.lists(st.sampled_from(LEVELS), min_size=1))
def test_risk_that_is_told_is_the_highest(levels: list[str]) -> None:
    """Of a batch, that is told."""
    told = risk_headers([rated(PromptRisk(level=one)) for one in levels])
    assert told == (("x-risk", max(levels, key=LEVELS.index)),)


def test_risk_that_is_told_leaves_out_one_of_a_newer_version() -> None:
    """A level that is not known here has no rank."""
    risks = (PromptRisk(level="apocalyptic"), PromptRisk(level="low"))
    assert risk_headers([rated(one) for one in risks]) == (("x-risk", "low"),)
