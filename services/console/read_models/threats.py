"""Users who are likely to turn critical, by what was found of them."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.store import Store
from services.console.domain.threats.turning import (
    Example,
    Found,
    Quality,
    examples,
    features,
    learn,
)

_HISTORY_DAYS = 60
_MOST_FINDINGS = 200_000
_MOST_USERS = 50
_WEEK_S = 7 * 86_400.0


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
