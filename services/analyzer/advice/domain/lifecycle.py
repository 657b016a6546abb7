"""What becomes of recommendations over time. Pure.

A recommendation is known by its fingerprint. What people decide stays: only three things
open it again, each told as the reason. One that is new and does not hold any more
lapses by itself; what was accepted is not taken back, since its effect is measured.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from services.analyzer.advice.domain.advice import Recommendation, ranked

State = Literal["new", "accepted", "dismissed", "done", "lapsed"]
Kind = Literal["raised", "renewed", "reopened", "lapsed"]

MOST_NEW = 500
"""So many are new at once; the less pressing ones are passed over, and counted."""
MOST_NEW_OF_TENANT = 50
"""So many of one tenant, so that none takes all the room. What is of no tenant (the platform,
models) may take it."""
RENEW_AFTER = timedelta(hours=20)
FORGET_AFTER = timedelta(days=90)
_WORSE = 2.0
_URGENCY = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Known:
    """One that was told before, as it stands: `told_at` is when its figures were told
    last, `decided_at`, `decided_harm` and `decided_severity` are of the last decision,
    `reach` how many days its rule looks back.
    """

    fingerprint: str
    rule: str
    state: State
    told_at: datetime
    severity: str
    reach: timedelta
    tenant: str = ""
    decided_at: datetime | None = None
    decided_harm: float = 0.0
    decided_severity: str = "info"


@dataclass(frozen=True, slots=True)
class Step:
    """Something to tell: of a recommendation as it was found, or, lapsed, of one that was
    not found any more.
    """

    kind: Kind
    fingerprint: str
    found: Recommendation | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    """What is to be told, and how many new ones were passed over for want of room."""

    steps: tuple[Step, ...]
    passed_over: int = 0


def course(
    known: Mapping[str, Known],
    found: Iterable[Recommendation],
    judged: Collection[str],
    now: datetime,
    *,
    as_of: datetime,
) -> Course:
    """What follows from what was found in the days before `as_of`. Of rules in `judged` all
    was read: nothing lapses by a question that was not answered.
    """
    steps: list[Step] = []
    openings: list[tuple[str, Step]] = []
    seen = set()
    for one in ranked(found):
        seen.add(one.fingerprint)
        step = _of_found(known.get(one.fingerprint), one, now, as_of)
        if step is not None and step.kind == "renewed":
            steps.append(step)
        elif step is not None:
            openings.append((one.tenant, step))
    new = [one for one in known.values() if one.state == "new"]
    over = [one for one in new if one.rule in judged and one.fingerprint not in seen]
    lapsed = [Step("lapsed", one.fingerprint, None, "its conditions do not hold any more") for one in over]
    taken = Counter(one.tenant for one in new) - Counter(one.tenant for one in over)
    opened = _with_room(openings, taken)
    return Course((*opened, *steps, *lapsed), len(openings) - len(opened))


def _with_room(openings: Iterable[tuple[str, Step]], taken: Counter[str]) -> list[Step]:
    """Those for which there is room, in all and of their tenant."""
    opened = []
    for tenant, step in openings:
        if taken.total() < MOST_NEW and (not tenant or taken[tenant] < MOST_NEW_OF_TENANT):
            taken[tenant] += 1
            opened.append(step)
    return opened


def _of_found(known: Known | None, found: Recommendation, now: datetime, as_of: datetime) -> Step | None:
    if known is None:
        return Step("raised", found.fingerprint, found)
    reason = reopened_because(known, found, now, as_of)
    if reason:
        return Step("reopened", found.fingerprint, found, reason)
    is_due = now - known.told_at >= RENEW_AFTER or found.severity != known.severity
    return (
        Step("renewed", found.fingerprint, found) if is_due and known.state in ("new", "accepted") else None
    )


def reopened_because(known: Known, found: Recommendation, now: datetime, as_of: datetime) -> str:
    """Why one that was settled is opened again; empty where it is not. What was found is of
    the days before `as_of`.
    """
    decided_at = known.decided_at or known.told_at
    since = now - decided_at
    match known.state:
        case "lapsed":
            return "its conditions hold again"
        case "done" if as_of - known.reach >= decided_at:
            return f"it holds again, of days after it was done ({known.reach.days} of them)"
        case "dismissed" if _URGENCY.index(found.severity) > _URGENCY.index(known.decided_severity):
            return f"it is {found.severity} now, and was {known.decided_severity} when it was dismissed"
        case "dismissed" if found.gain.harm >= _WORSE * known.decided_harm > 0:
            return f"it is {found.gain.harm / known.decided_harm:.2g} times what it was when it was dismissed"
        case "dismissed" if since >= FORGET_AFTER:
            return f"it was dismissed {since.days} days ago and still holds"
        case _:
            return ""
