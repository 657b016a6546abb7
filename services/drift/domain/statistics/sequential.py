"""Check as often as you like without crying wolf: a false-alarm budget that time
refills.

A check every hour at 1 % would raise 22 false alarms in 90 days. Here a check may spend
only what has accrued since the last one:

    alpha = expected false alarms a day x days since the last check,      at most `most_per_check`

so the expected number of false alarms in any stretch of time is at most the rate times
its length, however often one checks, and whatever the dependence between checks:
windows overlap and share one baseline, and the sum of error rates bounds the
expectation all the same (alpha spending; Lan and DeMets 1983, Biometrika 70, with a
linear spending function). E-values that multiply would need each check to be valid
given the earlier ones, which a shared baseline does not grant.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class AlarmBudget:
    """How many false alarms to expect over a period of checks without any change."""

    false_alarms: float = 0.25  # then more than one within `period` has a chance of about 2.6 % (Poisson)
    period: timedelta = timedelta(days=90)
    most_per_check: float = 0.01


def spend(budget: AlarmBudget, *, last_check: datetime | None, now: datetime) -> float:
    """Give the family-wise error rate for a check at `now`; the first check may spend
    `most_per_check`.

    What the cap leaves over is not saved up, so a long pause is not followed by a lax
    check.

    Raises:
        ValueError: `now` does not come after `last_check`.
    """
    if last_check is None:
        return budget.most_per_check
    if now <= last_check:
        raise ValueError(
            f"a check must come after the last one, got {now.isoformat()} after {last_check.isoformat()}"
        )
    return min(budget.most_per_check, budget.false_alarms * ((now - last_check) / budget.period))


@dataclass(frozen=True, slots=True)
class Episode:
    """A drift that has been reported and is not over."""

    raised_at: datetime
    last_seen: datetime  # the last check that found it


def follow(
    episode: Episode | None, *, drifted: bool, window_start: datetime, now: datetime
) -> tuple[bool, Episode | None]:
    """Say whether a check raises a new alarm, and what is open afterwards.

    A drift goes on being found while windows share its requests, and longer if the
    traffic stays as it is: that is one alarm. It is over after a check without drift
    whose window begins after the last one that found it.
    """
    if drifted:
        return episode is None, Episode(
            raised_at=now if episode is None else episode.raised_at, last_seen=now
        )
    over = episode is None or window_start >= episode.last_seen
    return False, None if over else episode
