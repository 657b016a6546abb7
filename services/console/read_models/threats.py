"""Threats as the store has them, and what is to be expected of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.common.statistics.hourly_counts import Expected, fit, forecast
from services.common.store import Store
from services.console.domain.threats.backtest import Backtest, backtest
from services.console.domain.threats.turning import (
    Example,
    Found,
    Quality,
    examples,
    features,
    learn,
)

_HISTORY_HOURS = 6 * 168
_HISTORY_DAYS = 60
_MOST_FINDINGS = 200_000
_MOST_USERS = 50
_WEEK_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of the next hours, and how such forecasts did; `hours` counts
    the history that there is.
    """

    hours: int
    expected: tuple[Expected, ...]
    backtest: Backtest | None


@dataclass(frozen=True, slots=True)
class Turning:
    """Users by their chance of a critical finding within a day, and how good such
    chances were on what the model did not see; without a model None, and no users.
    """

    examples: int
    turned: int
    quality: Quality | None
    users: tuple[tuple[str, str, float], ...] = ()


@dataclass
class Threats:
    """The read model."""

    store: Store

    async def outlook(self, tenant: str, now: datetime, hours: int = 24) -> Outlook:
        """Threats (findings of medium level and more) of each of the next hours, the one
        under way being the first.

        Raises:
            StoreUnavailableError: not now.
        """
        end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        rows = await self.store.query(
            "SELECT toInt64(toUnixTimestamp(hour)) AS hour, sum(findings) AS findings FROM v_threats "
            "WHERE hour >= {since:DateTime64(3, 'UTC')} AND hour < {until:DateTime64(3, 'UTC')} "
            "AND level IN ('medium', 'high', 'critical') "
            "AND (tenant = {tenant:String} OR {tenant:String} = '') GROUP BY hour ORDER BY hour",
            {"since": end - timedelta(hours=_HISTORY_HOURS), "until": end, "tenant": tenant},
        )
        return outlook_of([(one["hour"] // 3600, one["findings"]) for one in rows], end, hours)

    async def turning(self, tenant: str, now: datetime) -> Turning:
        """Users with findings in the last week, the likeliest to turn critical first.

        Raises:
            StoreUnavailableError: not now.
        """
        rows = await self.store.query(
            "SELECT tenant, user, toUnixTimestamp64Milli(found_at) / 1000 AS at_s, category, level, score, "
            "action FROM v_findings WHERE found_at >= {since:DateTime64(3, 'UTC')} AND user != '' "
            "AND (tenant = {tenant:String} OR {tenant:String} = '') "
            "ORDER BY found_at DESC LIMIT {most:UInt32}",
            {"since": now - timedelta(days=_HISTORY_DAYS), "tenant": tenant, "most": _MOST_FINDINGS},
        )
        by_user: dict[tuple[str, str], list[Found]] = defaultdict(list)
        for one in reversed(rows):
            by_user[one["tenant"], one["user"]].append(
                Found(one["at_s"], one["category"], one["level"], one["score"], one["action"] == "blocked")
            )
        return turning_of(by_user, now.timestamp())


def outlook_of(counted: Sequence[tuple[int, int]], end: datetime, hours: int) -> Outlook:
    """From the hours in which something was found, with their counts; the hours between
    them had nothing. Without any there is no history and no forecast.
    """
    if not counted:
        return Outlook(0, (), None)
    first, last = counted[0][0], int(end.timestamp() // 3600)
    by_hour = dict(counted)
    counts = [int(by_hour.get(hour, 0)) for hour in range(first, last)]
    if not counts:
        return Outlook(0, (), None)
    return Outlook(len(counts), forecast(fit(counts, first), hours), backtest(counts, first))


def turning_of(by_user: dict[tuple[str, str], list[Found]], now_s: float) -> Turning:
    """From each user's findings in order."""
    known: list[Example] = [one for found in by_user.values() for one in examples(found, now_s)]
    turned, learnt = sum(one.turned for one in known), learn(known)
    if learnt is None:
        return Turning(len(known), turned, None)
    model, quality = learnt
    chances = [
        (tenant, user, model.chance(features(found, now_s)))
        for (tenant, user), found in by_user.items()
        if found[-1].at_s >= now_s - _WEEK_S
    ]
    chances.sort(key=lambda one: (-one[2], one[0], one[1]))
    return Turning(len(known), turned, quality, tuple(chances[:_MOST_USERS]))
