"""From rows of evidence to recommendations. Pure."""

import hashlib
import json
import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from services.analyzer.advice.domain.rule import Harm, Row, Rule, Severity
from services.common.statistics.daily import CONFIDENCE, MEAN_STATISTIC, mean_of_days

_WEEK = 7
_URGENCY = {"info": 10.0, "warning": 40.0, "critical": 70.0}
_OF_EXCESS, _OF_CONFIDENCE = 20.0, 10.0
_COUNTED_CONFIDENCE = 0.999
_NOT_KEPT = ("daily", "key_ids")
"""Of the evidence: what is long, and what an erasure could not find again."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What would be gained if the harm fell to its target: `value`, and the 90 % interval
    of it, by `statistic`. `harm` is the present level, a day's mean or what was counted.
    """

    harm: float
    target: float
    value: float
    low: float
    high: float
    confidence: float
    statistic: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What is advised, and what for. `score` ranks, from 0 to 100."""

    rule: Rule
    fingerprint: str
    tenant: str
    subject: dict[str, str]
    severity: Severity
    score: float
    title: str
    why: str
    actions: tuple[str, ...]
    gain: Gain
    facts: dict[str, str]


def advise(rule: Rule, rows: Iterable[Row]) -> list[Recommendation]:
    """What a rule says of its evidence: nothing of a row of which a condition does not
    hold, or of which too few days are known, or that would gain nothing.
    """
    return [one for row in rows if (one := _of_row(rule, row)) is not None]


def ranked(found: Iterable[Recommendation]) -> list[Recommendation]:
    """The most pressing first; the order is the same for the same recommendations."""
    return sorted(found, key=lambda one: (-one.score, one.fingerprint))


def fingerprint_of(rule: str, subject: dict[str, str]) -> str:
    """The same for the same rule and subject, always."""
    text = json.dumps([rule, sorted(subject.items())], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _of_row(rule: Rule, row: Row) -> Recommendation | None:
    if any(one.excess(row) is None for one in rule.conditions):
        return None
    excess = rule.lead.excess(row)
    gain = None if excess is None else gain_of(rule.harm, row)
    if excess is None or gain is None or gain.value <= 0:
        return None
    is_critical = rule.critical is not None and rule.critical.excess(row) is not None
    severity: Severity = "critical" if is_critical else rule.severity
    subject = {name: str(row[name] or "") for name in rule.subject}
    facts = {name: shown(value) for name, value in row.items() if name not in _NOT_KEPT}
    facts |= {"gain": shown(gain.value), "gain_low": shown(gain.low), "gain_high": shown(gain.high)}
    return Recommendation(
        rule=rule,
        fingerprint=fingerprint_of(rule.id, subject),
        tenant=subject.get("tenant", ""),
        subject=subject,
        severity=severity,
        score=round(_URGENCY[severity] + _OF_EXCESS * excess + _OF_CONFIDENCE * gain.confidence, 1),
        title=rule.title.format_map(facts),
        why=rule.why.format_map(facts),
        actions=tuple([one.format_map(_quoted(facts)) for one in rule.actions]),
        gain=gain,
        facts=facts,
    )


def _quoted(facts: dict[str, str]) -> dict[str, str]:
    """As a shell takes each for one word: whoever names a tenant writes no command."""
    return {name: shlex.quote(value) for name, value in facts.items()}


def gain_of(harm: Harm, row: Row) -> Gain | None:
    """What would be gained; None with too few days."""
    if harm.counted:
        count = float(row[harm.counted])
        return Gain(count, 0.0, count, count, count, _COUNTED_CONFIDENCE, "counted")
    mean = mean_of_days(row["daily"][-_WEEK:] if harm.lately else row["daily"])
    if mean is None:
        return None
    target, times = float(row[harm.target]) if harm.target else 0.0, _WEEK if harm.weekly else 1
    value, low, high = (times * (one - target) for one in (mean.value, mean.low, mean.high))
    statistic = f"{MEAN_STATISTIC}, {CONFIDENCE:.0%}"
    return Gain(mean.value, target, value, max(0.0, low), high, mean.chance_above(target), statistic)


def shown(value: Any) -> str:
    """A figure as texts and facts have it: four digits, no more than are there."""
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(shown(one) for one in value)
    if isinstance(value, str) or not hasattr(value, "__float__"):
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        return ""
    return f"{number:.0f}" if abs(number) >= 1000 or number == int(number) else f"{number:.4g}"
