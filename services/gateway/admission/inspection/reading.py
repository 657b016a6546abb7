"""What was read of a text, and what is done about it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from schemas.control import PolicyChanged
from schemas.events.security import PromptRisk
from services.common.control.thresholds import Thresholds, action_on

AGREEING_POINTS = 5.0
"""Without so many points of rules no text is critical, whatever the model says: the
detector's own rule (`DetectorConfig.agreeing_points`).
"""
SUSPICION = -1.0
"""Log-odds by n-grams from which the model is asked where no rule matched."""
JUDGED = 3
"""So many texts of a request the model gives its opinion of: the most suspicious ones."""


class Reading(NamedTuple):
    """What rules say of a text: its points, those of the rules that speak for an attack,
    the kinds of attack. `suspicion` is n-grams' log-odds of an attack; None where they
    were not asked.
    """

    score: float
    attack_points: float
    suspicion: float | None = None
    categories: tuple[str, ...] = ()

    @property
    def is_suspicious(self) -> bool:
        """Whether the model shall have a look."""
        return self.attack_points > 0 or (self.suspicion is not None and self.suspicion > SUSPICION)

    @property
    def is_open(self) -> bool:
        """Whether n-grams were not asked, and would make a difference."""
        return self.suspicion is None and self.attack_points <= 0

    @property
    def rank(self) -> tuple[float, float]:
        """By which the most suspicious are found."""
        return self.attack_points, self.suspicion or 0.0


class Judgement(NamedTuple):
    """What rules and model say of a text together."""

    score: float
    probability: float
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """All that was read of a request's texts, which `of` names in their order."""

    of: Sequence[str]
    readings: Mapping[str, Reading]
    judgements: Mapping[str, Judgement]
    timed_out: bool = False

    @property
    def partial(self) -> bool:
        """Whether some text was not read at all."""
        return any(text not in self.readings for text in self.of)

    def suspects(self) -> list[str]:
        """The texts that the model shall read, the most suspicious first."""
        found = [text for text in self.of if text in self.readings and self.readings[text].is_suspicious]
        found.sort(key=lambda text: self.readings[text].rank, reverse=True)
        return found[:JUDGED]

    def open_texts(self) -> list[str]:
        """Those of which n-grams might say that the model shall have a look."""
        return [text for text in self.of if text in self.readings and self.readings[text].is_open]

    def score(self) -> float:
        """The worst text's points."""
        return max((self.score_of(text) for text in self.of), default=0.0)

    def score_of(self, text: str) -> float:
        """One text's points, as the deepest reader has them."""
        judged, read = self.judgements.get(text), self.readings.get(text)
        return judged.score if judged else read.score if read else 0.0


def undecided(read: Read, policy: PolicyChanged, thresholds: Thresholds) -> list[str]:
    """The texts of which only the model can tell whether they are to be blocked: all of
    them, so that no decoy keeps it from one.

    There are few where `critical` is blocked: rules matched, and not enough.
    """
    if policy.prompt_attacks != "block":
        return []
    found = [text for text in read.of if text in read.readings and text not in read.judgements]
    if policy.block_at == "critical":
        found = [text for text in found if read.readings[text].attack_points >= AGREEING_POINTS]
    else:
        found = [text for text in found if read.readings[text].is_suspicious]
    return [] if not found or is_settled(read, policy, thresholds) else found


def is_settled(read: Read, policy: PolicyChanged, thresholds: Thresholds) -> bool:
    """Whether a request is blocked whatever else is read: by a text that the model
    judged, or of which the rules are certain, which is when they reach critical.
    """
    scores = [
        read.score_of(text)
        for text in read.of
        if text in read.judgements
        or (text in read.readings and read.readings[text].score >= thresholds.critical)
    ]
    return action_on(thresholds.level(max(scores, default=0.0)), policy) == "blocked"


def risk_of(
    read: Read, policy: PolicyChanged, thresholds: Thresholds, versions: tuple[str, str]
) -> PromptRisk:
    """What is told of a request, and done about it."""
    score = read.score()
    level = thresholds.level(score)
    detector, rules = versions
    return _made(
        level=level,
        score=round(score, 2),
        action=action_on(level, policy),
        depth="model" if read.judgements else "rules" if read.readings else "none",
        categories=_categories(read),
        probability=max((round(one.probability, 4) for one in read.judgements.values()), default=None),
        timed_out=read.timed_out,
        partial=read.partial,
        detector_version=detector if read.judgements else "",
        rules_version=rules if read.readings else "",
    )


@lru_cache(maxsize=1024)
def _made(**fields: Any) -> PromptRisk:
    """A risk. Most prompts share one: nothing was found in them."""
    return PromptRisk(**fields)


def _categories(read: Read) -> tuple[str, ...]:
    """The kinds of attack, those of the worst text first."""
    if not read.judgements and not any(one.categories for one in read.readings.values()):
        return ()
    texts = sorted(read.of, key=read.score_of, reverse=True)
    found = [(read.judgements.get(text) or read.readings.get(text)) for text in texts]
    return tuple(dict.fromkeys(name for one in found if one is not None for name in one.categories))
