"""Is this prompt an attack? One call, one verdict that explains itself.

    detector = PromptDetector.load()
    verdict = detector.inspect("Ignore all previous instructions and …")
    verdict.level, verdict.action, verdict.threats

Two depths. `inline` (in the gateway, before a prompt is served) reads the first 1,536
and the last 768 characters; `full` (in the analyzer, afterwards) reads up to 80
stretches of 1,536 characters, evenly spread where the text is longer than they are.
Whatever the input, the work is bounded and nothing is raised.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from services.detection.prompt_attacks.model import (
    MODEL_FOLDER,
    PromptModel,
    Signals,
    load_model,
    points,
    readable_text,
)
from services.detection.prompt_attacks.normalise import Limits, Normalised, normalise
from services.detection.prompt_attacks.rules import Hit, RuleSet, load_rules
from services.detection.prompt_attacks.windows import HEAD_CHARS, TAIL_CHARS, Unpadded, inline_text, unpadded

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
    """From how many points a level begins, from which level something is done, and how
    much is read.

    Attributes:
        low, medium, high, critical: points at which a level begins.
        flag_at, block_at: the levels from which a prompt is flagged or blocked.
        agreeing_points: how many points rules must give before a text can be critical.
        agreeing_log_odds: what the encoder must say then, at least.
        stretches: how many stretches of a long text the rules read in full depth.
        stretches_judged: how many of them, the most suspicious ones, the models judge.
        windows_judged: how many windows of about 48 tokens the encoder reads in full
            depth, of all stretches together; inline it reads one.
    """

    low: float = 3.0
    medium: float = 7.0
    high: float = 12.0
    critical: float = 20.0
    flag_at: Level = Level.MEDIUM
    block_at: Level = Level.CRITICAL
    agreeing_points: float = 5.0
    agreeing_log_odds: float = 0.0
    stretches: int = 80
    stretches_judged: int = 3
    windows_judged: int = 6

    def __post_init__(self) -> None:
        if not 0 < self.low < self.medium < self.high < self.critical:
            raise ValueError(
                f"levels must rise: low {self.low}, medium {self.medium}, high {self.high}, critical "
                f"{self.critical}; order the four thresholds"
            )


@dataclass(frozen=True, slots=True)
class Threat:
    """A rule that matched: `text[start:end]` of the original is what it matched; `view`
    says how that had been disguised (plain: not at all).
    """

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
        probability: calibrated chance of an attack, 0 … 1, where half of the prompts
            are attacks.
        categories: kinds of attack that rules saw, strongest first.
        threats: the rules that matched, strongest first; negative weights speak for
            innocence.
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
    """A stretch that is read as one text: `head` from `start`, and behind it what
    begins at `tail_start` of the original.
    """

    text: str
    start: int
    cut: int
    tail_start: int

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a stretch of the excerpt stands in the original; one that crosses the
        cut ends there.
        """
        if start >= self.cut:
            return start - self.cut + self.tail_start, end - self.cut + self.tail_start
        return self.start + start, self.start + min(end, self.cut)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A stretch, its views, and the rules that matched in them."""

    excerpt: _Excerpt
    normalised: Normalised
    hits: Sequence[Hit]


class PromptDetector:
    """Rules and model behind one door.

    Stateless after loading, safe to share between threads.
    """

    def __init__(self, rules: RuleSet, model: PromptModel, config: DetectorConfig | None = None) -> None:
        self._rules = rules
        self._model = model
        self.config = config or DetectorConfig()

    @classmethod
    def load(cls, model_dir: Path | None = None, config: DetectorConfig | None = None) -> "PromptDetector":
        """Read rules and model from disk, once per process and folder.

        Raises:
            FileNotFoundError: the folder lacks weights.npz, encoder.onnx or
                tokenizer.json.
        """
        return cls(load_rules(), load_model(model_dir or MODEL_FOLDER), config)

    def inspect(self, text: str, *, depth: Literal["inline", "full"] = "inline") -> Verdict:
        """Judge a text.

        Of several stretches rules read all, the encoder the most suspicious ones, and
        the worst one decides. Padding is read over.
        """
        shown = unpadded(text)
        return _in_original(self._inspect(shown.text, depth), shown)

    def _inspect(self, text: str, depth: Literal["inline", "full"]) -> Verdict:
        readings = [self._read(excerpt) for excerpt in self._excerpts(text, depth)]
        if len(readings) > 1:
            readings.sort(key=self._suspicion, reverse=True)
        judged = readings[: self.config.stretches_judged]
        windows = 1 if depth == "inline" else max(1, self.config.windows_judged // len(judged))
        verdicts = [self._judge(reading, windows) for reading in judged]
        worst = max(verdicts, key=lambda verdict: (verdict.score, verdict.probability))
        read = HEAD_CHARS + TAIL_CHARS if depth == "inline" else HEAD_CHARS * self.config.stretches
        return _merged(worst, readings, partial=len(text) > read)

    def rules_only(self, text: str) -> Verdict:
        """What the rules alone say about the beginning and the end of a text: their
        points are the score, and only near-certain ones reach critical. Padding is read
        over.
        """
        shown = unpadded(text)
        return _in_original(self._rules_only(shown.text), shown)

    def _rules_only(self, text: str) -> Verdict:
        reading = self._read(next(self._excerpts(text, "inline")))
        partial = len(text) > len(reading.excerpt.text)
        if reading.hits or partial:
            return self._judge_by_rules(reading, partial=partial)
        return self._nothing_found

    @cached_property
    def _nothing_found(self) -> Verdict:
        """What most texts come to, made once."""
        return self._judge_by_rules(_Reading(_Excerpt("", 0, 1, 0), normalise(""), ()), partial=False)

    def _judge_by_rules(self, reading: _Reading, *, partial: bool) -> Verdict:
        hits = reading.hits
        total = max(0.0, sum(map(points, hits)))
        certain = _near_certain(hits)
        score = max(total, self.config.critical) if certain else min(total, self.config.critical - 0.01)
        return self._verdict(
            reading,
            score,
            probability=1 - math.exp(-total / 10),
            signals=None,
            capped=total > score,
            partial=partial,
        )

    def _read(self, excerpt: _Excerpt) -> _Reading:
        normalised = normalise(excerpt.text, limits=Limits(chars=len(excerpt.text)))
        return _Reading(excerpt, normalised, self._rules.match(normalised))

    def _suspicion(self, reading: _Reading) -> float:
        """What decides which stretches are judged in full: rules' points, and what the
        n-grams say.
        """
        return sum(map(points, reading.hits)) + self._model.ngram_logit(readable_text(reading.normalised))

    def _judge(self, reading: _Reading, windows: int) -> Verdict:
        signals = self._model.signals(reading.normalised, reading.hits, windows_judged=windows)
        log_odds = self._model.log_odds(signals)
        score = self.score(log_odds)
        capped = False
        if _near_certain(reading.hits):
            score = max(score, self.config.critical)
        elif score >= self.config.critical and not self._agree(signals):
            score, capped = self.config.critical - 0.01, True
        return self._verdict(
            reading,
            score,
            probability=1 / (1 + math.exp(-max(-60.0, log_odds))),
            signals=signals,
            capped=capped,
        )

    def score(self, log_odds: float) -> float:
        """Points for the model's log-odds: straight lines between the anchors that
        training put at low, medium, high and critical. 0 … 30.
        """
        low, medium, high, critical = self._model.weights.anchors
        return float(
            np.interp(
                log_odds, (2 * low - medium, low, medium, high, critical, 2 * critical - high), ANCHOR_POINTS
            )
        )

    def _agree(self, signals: Signals) -> bool:
        return (
            signals.rule_points >= self.config.agreeing_points
            and signals.vector_highest >= self.config.agreeing_log_odds
        )

    def _verdict(
        self,
        reading: _Reading,
        score: float,
        *,
        probability: float,
        signals: Signals | None,
        capped: bool,
        partial: bool = False,
    ) -> Verdict:
        level = self._level(score)
        threats = _threats([reading])
        return Verdict(
            level=level,
            action=self._action(level),
            score=score,
            probability=probability,
            categories=_categories(threats),
            threats=threats,
            signals=signals,
            model_version=self._model.weights.version,
            rules_version=self._rules.version,
            capped=capped,
            partial=partial,
        )

    def _level(self, score: float) -> Level:
        config = self.config
        reached = sum(
            score >= threshold for threshold in (config.low, config.medium, config.high, config.critical)
        )
        return _ORDER[reached]

    def _action(self, level: Level) -> Action:
        if _ORDER.index(level) >= _ORDER.index(self.config.block_at):
            return Action.BLOCK
        return Action.FLAG if _ORDER.index(level) >= _ORDER.index(self.config.flag_at) else Action.ALLOW

    def _excerpts(self, text: str, depth: str) -> Iterator[_Excerpt]:
        if len(text) <= HEAD_CHARS:
            yield _Excerpt(text, 0, len(text) + 1, 0)
        elif depth == "inline":
            yield _Excerpt(inline_text(text), 0, HEAD_CHARS + 1, max(HEAD_CHARS, len(text) - TAIL_CHARS))
        else:
            count = min(self.config.stretches, math.ceil(len(text) / HEAD_CHARS))
            for index in range(count):
                start = round(index * (len(text) - HEAD_CHARS) / max(1, count - 1))
                yield _Excerpt(text[start : start + HEAD_CHARS], start, HEAD_CHARS + 1, 0)


def _near_certain(hits: Sequence[Hit]) -> bool:
    """Whether a near-certain rule matched outside quotation marks, and nothing speaks
    for innocence.
    """
    return any(hit.rule.certain and not hit.quoted for hit in hits) and not any(
        hit.rule.weight < 0 for hit in hits
    )


def _threats(readings: Sequence[_Reading]) -> tuple[Threat, ...]:
    """What the rules found in any of the readings, strongest first."""
    found = {_threat(hit, reading.excerpt) for reading in readings for hit in reading.hits}
    return tuple(sorted(found, key=lambda threat: (-threat.weight, threat.start, threat.rule, threat.end)))


def _threat(hit: Hit, excerpt: _Excerpt) -> Threat:
    start, end = excerpt.span(hit.start, hit.end)
    return Threat(hit.rule.category, hit.rule.id, points(hit), start, end, hit.view, hit.quoted)


def _categories(threats: Sequence[Threat]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(threat.category for threat in threats if threat.weight > 0))


def _in_original(verdict: Verdict, shown: Unpadded) -> Verdict:
    """The verdict with spans of the text as it was, padding included."""
    if not (shown.starts and verdict.threats):
        return verdict
    moved = []
    for threat in verdict.threats:
        start, end = shown.span(threat.start, threat.end)
        moved.append(replace(threat, start=start, end=end))
    return replace(verdict, threats=tuple(moved))


def _merged(worst: Verdict, readings: Sequence[_Reading], *, partial: bool) -> Verdict:
    """The worst verdict with what was found anywhere."""
    if len(readings) == 1:
        return replace(worst, partial=partial)
    threats = _threats(readings)
    return replace(worst, threats=threats, categories=_categories(threats), partial=partial)
