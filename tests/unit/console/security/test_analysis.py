"""What is told of a prompt that is analysed on demand."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.control import PolicyChanged
from services.common.control.thresholds import DEFAULT_THRESHOLDS, Thresholds
from services.console.security.analysis import analyse, judged
from services.detection.prompt_attacks.detector import Action, Level, Threat, Verdict

MAIL, KEY = "jean.dupont@example.fr", "ghp_aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"


def verdict(score: float, *threats: Threat) -> Verdict:
    """A detector's verdict."""
    categories = tuple(dict.fromkeys(one.category for one in threats if one.weight > 0))
    return Verdict(Level.NONE, Action.ALLOW, score, 0.5, categories, threats, None, "m-1", "r-1")


def found(prompt: str, score: float = 0.0, *threats: Threat) -> dict[str, object]:
    """The analysis of a prompt that the detector says this of."""
    return analyse(prompt, lambda _text, *, depth: verdict(score, *threats))


def test_analysis_tells_places_and_kinds_and_no_value() -> None:
    """An answer can be logged by whoever asked."""
    told = found(f"I am {MAIL}, key {KEY}", 21.0, Threat("jailbreak", "r", 9.0, 0, 4, "leet", quoted=False))
    assert told["findings"] == [
        {"category": "jailbreak", "rule": "r", "span": [0, 4], "weight": 9.0, "disguise": "leet"}
    ]
    assert isinstance(told["pii"], list)
    assert [(one["placeholder_kind"], one["span"], one["is_secret"]) for one in told["pii"]] == [
        ("EMAIL", [5, 27], False),
        ("SECRET", [33, 73], True),
    ]
    assert MAIL not in json.dumps(told)
    assert KEY not in json.dumps(told)
    assert told["masked_prompt"] == "I am [EMAIL_1], key [SECRET_1]"


@pytest.mark.parametrize(
    ("policy", "score", "prompt", "action"),
    [
        ({}, 21.0, "x", "block"),
        ({}, 13.0, "x", "flag"),
        ({}, 8.0, "x", "allow"),
        ({"block_at": "medium"}, 8.0, "x", "block"),
        ({"prompt_attacks": "flag"}, 30.0, "x", "flag"),
        ({"prompt_attacks": "observe"}, 30.0, "x", "allow"),
        ({"prompt_attacks": "off", "secrets": "block"}, 30.0, KEY, "block"),
        ({"secrets": "mask"}, 0.0, KEY, "mask"),
        ({"secrets": "mask"}, 0.0, MAIL, "allow"),
        ({"mask_prompt": True}, 0.0, MAIL, "mask"),
        ({"mask_prompt": True}, 0.0, f"the key is {KEY}", "allow"),
    ],
)
def test_action_is_what_the_policy_does_at_this_level(
    policy: dict[str, object], score: float, prompt: str, action: str
) -> None:
    """As the gateways' inspection and masking have it."""
    told = judged(found(prompt, score), DEFAULT_THRESHOLDS, PolicyChanged.model_validate(policy))
    assert told["action"] == action


def test_level_is_by_the_tenants_thresholds() -> None:
    """The same points are another level for another tenant."""
    told = found("x", 8.0)
    levels = [
        judged(told, one, PolicyChanged())["risk_level"]
        for one in (DEFAULT_THRESHOLDS, Thresholds(1, 2, 3, 4), Thresholds(9, 10, 11, 12))
    ]
    assert levels == ["medium", "critical", "none"]


def test_threat_that_no_rule_names_is_a_suspicious_prompt() -> None:
    """And below low there is none, whatever matched."""
    hit = Threat("jailbreak", "r", 1.0, 0, 1, "plain", quoted=False)
    policy = PolicyChanged()
    assert judged(found("x", 8.0), DEFAULT_THRESHOLDS, policy)["threats_detected"] == ["suspicious_prompt"]
    assert judged(found("x", 8.0, hit), DEFAULT_THRESHOLDS, policy)["threats_detected"] == ["jailbreak"]
    assert judged(found("x", 1.0, hit), DEFAULT_THRESHOLDS, policy)["threats_detected"] == []


def test_hostile_prompt_has_a_bounded_answer() -> None:
    """Thousands of matches and of addresses: the lists are cut, and that is said."""
    hits = [Threat("jailbreak", "r", 1.0, 0, 1, "plain", quoted=False)] * 1000
    told = found(" ".join(f"a{number}@example.com" for number in range(3000)), 30.0, *hits)
    assert isinstance(told["findings"], list)
    assert isinstance(told["pii"], list)
    assert (len(told["findings"]), len(told["pii"]), told["partial"]) == (64, 1000, True)


@settings(max_examples=50)
@given(st.text(max_size=300), st.floats(0, 30))
def test_analysis_of_any_text_is_json_with_spans_within_it(prompt: str, score: float) -> None:
    """Lone surrogates too: the process tells it over a socket."""
    told = json.loads(json.dumps(judged(found(prompt, score), DEFAULT_THRESHOLDS, PolicyChanged())))
    assert all(0 <= one["span"][0] < one["span"][1] <= len(prompt) for one in told["pii"])
