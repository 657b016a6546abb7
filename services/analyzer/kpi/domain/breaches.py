"""What begins and ends when a window's figures are held against their thresholds. Pure.

A breach begins when a figure that rests on enough samples reaches its threshold. It
ends when the figure was well on the good side (`Rule.clear_line`), or rested on too
little, in every window over a whole minute. In between nothing is told.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from schemas.events.alerts import Severity
from schemas.events.budgets import BudgetWarned
from schemas.events.insight.kpi import BreachState, KpiBreached, OpenBreach

CLEAR_FOR = timedelta(minutes=1)
MOST_OPEN = 500
BUDGET_SHARE = "budget_share"


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold of a figure. `fewest` samples are needed, `fewest_bad` of them bad."""

    metric: str
    threshold: float
    direction: Literal["above", "below"]
    window: timedelta
    samples_are: str
    fewest: int = 1
    fewest_bad: int = 0

    @property
    def clear_line(self) -> float:
        """What a figure must come back behind: a tenth below the threshold; for shares
        that must not fall, a tenth of the way up to 1.
        """
        if self.direction == "above":
            return self.threshold * 0.9
        return self.threshold + (1 - self.threshold) * 0.1

    def is_reached(self, reading: "Reading") -> bool:
        """Whether a figure is on the bad side, and rests on enough."""
        if reading.samples < self.fewest or reading.bad < self.fewest_bad:
            return False
        if self.direction == "above":
            return reading.value >= self.threshold
        return reading.value < self.threshold

    def is_clear(self, reading: "Reading | None") -> bool:
        """Whether a figure is well on the good side, or rests on too little."""
        if reading is None or reading.samples < self.fewest or reading.bad < self.fewest_bad:
            return True
        if self.direction == "above":
            return reading.value < self.clear_line
        return reading.value >= self.clear_line

    def severity(self, value: float) -> Severity:
        """Critical at twice the threshold, or half of it."""
        critical = value >= 2 * self.threshold if self.direction == "above" else value <= self.threshold / 2
        return Severity.CRITICAL if critical else Severity.WARNING


class Subject(NamedTuple):
    """Whose figure; empty is all."""

    metric: str
    tenant: str
    model: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A figure of a window. `window_end` is set where it is not the window that is
    judged: what was found late.
    """

    metric: str
    value: float
    samples: int
    bad: int = 0
    tenant: str = ""
    model: str = ""
    window_end: datetime | None = None

    @property
    def subject(self) -> Subject:
        """Whose it is."""
        return Subject(self.metric, self.tenant, self.model)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be told, what is open now, and how much did not fit."""

    told: tuple[KpiBreached, ...]
    open: tuple[OpenBreach, ...]
    passed_over: int = 0


def judge(
    rules: Mapping[str, Rule],
    readings: Sequence[Reading],
    open_ones: Sequence[OpenBreach],
    *,
    at: datetime,
    read: Collection[str],
) -> Verdict:
    """Holds the figures of the windows that end `at` against their rules.

    `read` are the metrics that were asked for: breaches of the others stay as they are,
    but for those that end by themselves.
    """
    found = {one.subject: one for one in readings if one.window_end is None}
    told: list[KpiBreached] = []
    still: list[OpenBreach] = []
    for one in open_ones:
        subject = Subject(one.metric, one.tenant, one.model)
        if one.ends_at is not None:
            ended, after = at >= one.ends_at, one
        elif one.metric in read and one.metric in rules:
            ended, after = _stood(one, rules[one.metric], found.get(subject), at)
        else:
            ended, after = False, one
        if ended:
            told.append(_recovered(after, found.get(subject), rules.get(one.metric), at))
        else:
            still.append(after)
    standing = {Subject(one.metric, one.tenant, one.model) for one in still}
    begun = [
        _begun(rules[one.metric], one, at)
        for subject, one in sorted(_worst(rules, readings).items())
        if subject not in standing
    ]
    room = max(0, MOST_OPEN - len(still))
    for breach, opened in begun[:room]:
        told.append(breach)
        still.append(opened)
    return Verdict(tuple(told), tuple(still), max(0, len(begun) - room))


def warn_of_budget(warned: BudgetWarned, open_ones: Sequence[OpenBreach], *, judged_to: datetime) -> Verdict:
    """A share of a budget was spent: open until the budget is renewed. One that is known,
    or whose period is over, changes nothing.
    """
    share = float(warned.share)
    identity = (warned.budget_id, warned.period_start.isoformat(), str(warned.limit_usd), str(warned.share))
    breach_id = _breach_id(BUDGET_SHARE, *identity)
    if warned.renews_at <= judged_to or any(one.breach_id == breach_id for one in open_ones):
        return Verdict((), tuple(open_ones))
    if len(open_ones) >= MOST_OPEN:
        return Verdict((), tuple(open_ones), 1)
    opened = OpenBreach(
        breach_id=breach_id,
        metric=BUDGET_SHARE,
        tenant=warned.tenant,
        model=warned.subject.id if warned.subject.kind == "model" else "",
        severity=Severity.CRITICAL if share >= 1 else Severity.WARNING,
        threshold=share,
        direction="above",
        window_start=warned.period_start,
        window_end=max(warned.warned_at, warned.period_start),
        ends_at=warned.renews_at,
    )
    spent = float(warned.spent_usd / warned.limit_usd) if warned.limit_usd else share
    summary = (
        f"{warned.spent_usd:.6g} of the {warned.limit_usd:.6g} USD a {warned.period} of budget "
        f"{warned.budget_id} are spent, the line is {share:.0%}"
    )
    return Verdict((_told(opened, BreachState.BREACHED, spent, 1, summary),), (*open_ones, opened))


def _worst(rules: Mapping[str, Rule], readings: Sequence[Reading]) -> dict[Subject, Reading]:
    """Of each subject the reading that reached its threshold, the present one first."""
    return {
        one.subject: one
        for one in sorted(readings, key=lambda one: one.window_end is None)
        if one.metric in rules and rules[one.metric].is_reached(one)
    }


def _stood(one: OpenBreach, rule: Rule, reading: Reading | None, at: datetime) -> tuple[bool, OpenBreach]:
    """Whether an open breach is over, and what becomes of it where it is not."""
    if not rule.is_clear(reading):
        return False, one if one.clear_since is None else one.model_copy(update={"clear_since": None})
    since = one.clear_since or at
    if at - since >= CLEAR_FOR:
        return True, one
    return False, one if one.clear_since else one.model_copy(update={"clear_since": since})


def _begun(rule: Rule, reading: Reading, at: datetime) -> tuple[KpiBreached, OpenBreach]:
    end = reading.window_end or at
    opened = OpenBreach(
        breach_id=_breach_id(*reading.subject, end.isoformat()),
        metric=rule.metric,
        tenant=reading.tenant,
        model=reading.model,
        severity=rule.severity(reading.value),
        threshold=rule.threshold,
        direction=rule.direction,
        window_start=end - rule.window,
        window_end=end,
    )
    summary = _summary(rule, opened, reading)
    return _told(opened, BreachState.BREACHED, reading.value, reading.samples, summary), opened


def _recovered(one: OpenBreach, reading: Reading | None, rule: Rule | None, at: datetime) -> KpiBreached:
    """The end of a breach; without a figure where too little happened for one."""
    length = rule.window if rule else at - one.window_start
    over = one.model_copy(update={"window_start": at - length, "window_end": at})
    value, samples = (reading.value, reading.samples) if reading else (0.0, 0)
    if rule is None:
        summary = "the budget is renewed"
    elif reading is None or samples < rule.fewest:
        summary = f"too few {rule.samples_are} to tell"
    else:
        summary = _summary(rule, one, reading)
    return _told(over, BreachState.RECOVERED, value, samples, summary)


def _summary(rule: Rule, one: OpenBreach, reading: Reading) -> str:
    whose = f"model {one.model}" if one.model else f"tenant {one.tenant}" if one.tenant else "everybody"
    return (
        f"{rule.metric} of {whose} is {reading.value:.4g} over {reading.samples} {rule.samples_are}, "
        f"the line is {rule.threshold:g}"
    )


def _told(one: OpenBreach, state: BreachState, value: float, samples: int, summary: str) -> KpiBreached:
    return KpiBreached(
        breach_id=one.breach_id,
        state=state,
        metric=one.metric,
        value=value,
        threshold=one.threshold,
        direction=one.direction,
        severity=one.severity,
        tenant=one.tenant,
        model=one.model,
        window_start=one.window_start,
        window_end=one.window_end,
        samples=samples,
        summary=summary,
        detected_at=one.window_end,
    )


def _breach_id(*parts: str) -> str:
    """The same for the same breach, whoever tells it."""
    return f"brk_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"
