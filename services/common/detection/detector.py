"""Is this prompt an attack? One call, one verdict that explains itself.

    detector = PromptDetector.load()
    verdict = detector.inspect("Ignore all previous instructions and …")
    verdict.level, verdict.action, verdict.threats

Two depths. `inline` (in the gateway, before a prompt is served) reads the first 2,048 and the last 1,024 characters; `full` (in the analyzer, afterwards)
reads up to 64 stretches of 2,048 characters, evenly spread where the text is longer than they are. Whatever the input, the work is bounded and nothing is
raised.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np

from services.common.detection.model import MODEL_FOLDER, PromptModel, Signals, load_model, points
from services.common.detection.normalise import Limits, normalise
from services.common.detection.rules import Hit, RuleSet, load_rules

ANCHOR_POINTS = (0.0, 3.0, 7.0, 12.0, 20.0, 30.0)


class Level(StrEnum):
    """How dangerous, from nothing to speak of to critical."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Action(StrEnum):
    """What to do with the prompt."""

    ALLOW = "allow"
    FLAG = "flag"
    BLOCK = "block"


_ORDER = tuple(Level)


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """From how many points a level begins, and from which level something is done. Characters: how much is read.

    `agreeing_points`: how many points rules must give before a text can be critical; `agreeing_log_odds`: what the models must say then, at least.
    """

    low: float = 3.0
    medium: float = 7.0
    high: float = 12.0
    critical: float = 20.0
    flag_at: Level = Level.MEDIUM
    block_at: Level = Level.CRITICAL
    agreeing_points: float = 5.0
    agreeing_log_odds: float = 0.0
    head_chars: int = 2048
    tail_chars: int = 1024
    chunks: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.low < self.medium < self.high < self.critical:
            raise ValueError(f"levels must rise: low {self.low}, medium {self.medium}, high {self.high}, critical {self.critical}; order the four thresholds")


@dataclass(frozen=True, slots=True)
class Threat:
    """A rule that matched: `text[start:end]` of the original is what it matched; `view` says how that had been disguised (plain: not at all)."""

    category: str
    rule: str
    weight: float
    start: int
    end: int
    view: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the detector says, and why.

    Attributes:
        score: points, 0 … 30; `level` and `action` follow from it.
        probability: calibrated chance of an attack, 0 … 1, where half of the prompts are attacks.
        categories: kinds of attack that rules saw, strongest first.
        threats: the rules that matched, strongest first; negative weights speak for innocence.
        signals: what each reader said; None where only rules were asked.
        capped: the score would have been critical, but rules and models did not agree.
        partial: the text was longer than what was read.
    """

    level: Level
    action: Action
    score: float
    probability: float
    categories: tuple[str, ...]
    threats: tuple[Threat, ...]
    signals: Signals | None
    model_version: str
    rules_version: str
    capped: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True)
class _Excerpt:
    """A stretch that is read as one text: `head` from `start`, and behind it what begins at `tail_start` of the original."""

    text: str
    start: int
    cut: int
    tail_start: int

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a stretch of the excerpt stands in the original; one that crosses the cut ends there."""
        if start >= self.cut:
            return start - self.cut + self.tail_start, end - self.cut + self.tail_start
        return self.start + start, self.start + min(end, self.cut)


class PromptDetector:
    """Rules and model behind one door. Stateless after loading, safe to share between threads."""

    def __init__(self, rules: RuleSet, model: PromptModel, config: DetectorConfig | None = None) -> None:
        self._rules = rules
        self._model = model
        self.config = config or DetectorConfig()

    @classmethod
    def load(cls, model_dir: Path | None = None, config: DetectorConfig | None = None) -> "PromptDetector":
        """Read rules and model from disk, once per process and folder.

        Raises:
            FileNotFoundError: the folder lacks weights.npz, encoder.onnx or tokenizer.json.
        """
        return cls(load_rules(), load_model(model_dir or MODEL_FOLDER), config)

    def inspect(self, text: str, *, depth: Literal["inline", "full"] = "inline") -> Verdict:
        """Judge a text; of several stretches the worst one decides."""
        verdicts = [self._judge(excerpt) for excerpt in self._excerpts(text, depth)]
        worst = max(verdicts, key=lambda verdict: (verdict.score, verdict.probability))
        read = self.config.head_chars + self.config.tail_chars if depth == "inline" else self.config.head_chars * self.config.chunks
        return _merged(worst, verdicts, partial=len(text) > read)

    def rules_only(self, text: str) -> Verdict:
        """What the rules alone say about the beginning and the end of a text: their points are the score, and only near-certain ones reach critical."""
        excerpt = next(self._excerpts(text, "inline"))
        hits = self._hits(excerpt)
        total = max(0.0, sum(map(points, hits)))
        certain = _near_certain(hits)
        score = max(total, self.config.critical) if certain else min(total, self.config.critical - 0.01)
        partial = len(text) > len(excerpt.text)
        return self._verdict(excerpt, hits, score, probability=1 - math.exp(-total / 10), signals=None, capped=total > score, partial=partial)

    def _judge(self, excerpt: _Excerpt) -> Verdict:
        normalised = normalise(excerpt.text, limits=Limits(chars=len(excerpt.text)))
        hits = self._rules.match(normalised)
        signals = self._model.signals(normalised, hits, at_most=12, embedded=2 if len(excerpt.text) <= 2048 else 1)
        log_odds = self._model.log_odds(signals)
        score = self.score(log_odds)
        capped = False
        if _near_certain(hits):
            score = max(score, self.config.critical)
        elif score >= self.config.critical and not self._agree(signals):
            score, capped = self.config.critical - 0.01, True
        return self._verdict(excerpt, hits, score, probability=1 / (1 + math.exp(-max(-60.0, log_odds))), signals=signals, capped=capped)

    def _hits(self, excerpt: _Excerpt) -> list[Hit]:
        return self._rules.match(normalise(excerpt.text, limits=Limits(chars=len(excerpt.text))))

    def score(self, log_odds: float) -> float:
        """Points for the model's log-odds: straight lines between the anchors that training put at low, medium, high and critical. 0 … 30."""
        low, medium, high, critical = self._model.weights.anchors
        return float(np.interp(log_odds, (2 * low - medium, low, medium, high, critical, 2 * critical - high), ANCHOR_POINTS))

    def _agree(self, signals: Signals) -> bool:
        models = max(signals.ngram_highest, signals.vector_highest)
        return signals.rule_points >= self.config.agreeing_points and models >= self.config.agreeing_log_odds

    def _verdict(
        self, excerpt: _Excerpt, hits: Sequence[Hit], score: float, *, probability: float, signals: Signals | None, capped: bool, partial: bool = False
    ) -> Verdict:
        level = self._level(score)
        threats = sorted((_threat(hit, excerpt) for hit in hits), key=lambda threat: -threat.weight)
        categories = dict.fromkeys(threat.category for threat in threats if threat.weight > 0)
        version = self._model.weights.version
        action = self._action(level)
        return Verdict(level, action, score, probability, tuple(categories), tuple(threats), signals, version, self._rules.version, capped, partial)

    def _level(self, score: float) -> Level:
        config = self.config
        reached = sum(score >= threshold for threshold in (config.low, config.medium, config.high, config.critical))
        return _ORDER[reached]

    def _action(self, level: Level) -> Action:
        if _ORDER.index(level) >= _ORDER.index(self.config.block_at):
            return Action.BLOCK
        return Action.FLAG if _ORDER.index(level) >= _ORDER.index(self.config.flag_at) else Action.ALLOW

    def _excerpts(self, text: str, depth: str) -> Iterator[_Excerpt]:
        head, tail = self.config.head_chars, self.config.tail_chars
        if len(text) <= head:
            yield _Excerpt(text, 0, len(text) + 1, 0)
        elif depth == "inline":
            rest = min(tail, len(text) - head)
            yield _Excerpt(text[:head] + "\n" + text[len(text) - rest :], 0, head + 1, len(text) - rest)
        else:
            count = min(self.config.chunks, math.ceil(len(text) / head))
            for index in range(count):
                start = round(index * (len(text) - head) / max(1, count - 1))
                yield _Excerpt(text[start : start + head], start, head + 1, 0)


def _near_certain(hits: Sequence[Hit]) -> bool:
    """Whether a near-certain rule matched outside quotation marks, and nothing speaks for innocence."""
    return any(hit.rule.certain and not hit.quoted for hit in hits) and not any(hit.rule.weight < 0 for hit in hits)


def _threat(hit: Hit, excerpt: _Excerpt) -> Threat:
    start, end = excerpt.span(hit.start, hit.end)
    return Threat(hit.rule.category, hit.rule.id, points(hit), start, end, hit.view, hit.quoted)


def _merged(worst: Verdict, verdicts: Sequence[Verdict], *, partial: bool) -> Verdict:
    """The worst verdict with what was found anywhere."""
    if len(verdicts) == 1:
        return replace(worst, partial=partial)
    threats = sorted({threat for verdict in verdicts for threat in verdict.threats}, key=lambda threat: (-threat.weight, threat.start, threat.rule))
    categories = dict.fromkeys(threat.category for threat in threats if threat.weight > 0)
    return replace(worst, threats=tuple(threats), categories=tuple(categories), partial=partial)
