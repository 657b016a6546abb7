"""What was spent, by whom, as the store has it.

A sum may be bounded by the log: with the store's highest offset of each partition it is
exact up to there, and whoever follows the log from there on misses nothing and counts
nothing twice.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from schemas.control import BudgetChanged
from schemas.topics import COMPLETED
from services.common.budgets.periods import Period, PeriodKind, period_at, zone_names
from services.common.identity import pseudonym
from services.common.store import Store

SubjectKind = Literal["key", "user", "tenant", "model"]

_COLUMNS: Mapping[SubjectKind, str] = {
    "key": "key_id",
    "user": "user",
    "tenant": "tenant",
    "model": "model",
}
_COST = "ifNull(cost_usd, toDecimal64(0, 12))"
_WITHIN = (
    "AND (topic != {topic:String} OR toInt64(offset) <= if(partition < length({through:Array(Int64)}), "
    "arrayElement({through:Array(Int64)}, toInt64(partition) + 1), -1)) "
)


class Spender(NamedTuple):
    """Whose requests: a key, a user (by the pseudonym), a tenant, or a tenant's use of a
    model.
    """

    kind: SubjectKind
    tenant: str
    id: str


class SpendKey(NamedTuple):
    """What a spender spends in each day or month of a time zone."""

    spender: Spender
    period: PeriodKind
    time_zone: str

    def period_at(self, moment: datetime) -> Period:
        """The period in which a moment lies."""
        return period_at(moment, self.period, zone_of(self.time_zone))


class Spent(NamedTuple):
    """Dollars by the start of a period."""

    start: datetime
    usd: Decimal


def spend_key_of(
    budget: BudgetChanged, *, pseudonym_key: str, model_name: Callable[[str], str] = lambda name: name
) -> SpendKey:
    """What a budget bounds. Requests name users by pseudonym, budgets by their own name;
    `model_name` gives a model's own name for any of its names.
    """
    name = budget.subject.id
    if budget.subject.kind == "user":
        name = pseudonym(pseudonym_key, tenant=budget.tenant, user=name.removeprefix(f"{budget.tenant}/"))
    elif budget.subject.kind == "model":
        name = model_name(name)
    return SpendKey(Spender(budget.subject.kind, budget.tenant, name), budget.period, budget.time_zone)


def zone_of(name: str) -> ZoneInfo:
    """A time zone; UTC for one that is unknown, or each machine's own."""
    return ZoneInfo(name if name in zone_names() else "UTC")


@dataclass(frozen=True)
class SpendStore:
    """Sums over the requests in the store."""

    store: Store

    async def highest_offsets(self) -> dict[int, int]:
        """The log's highest offset that the store has, by partition. Rows come in the
        order of the log: up to there none is missing.

        Raises:
            StoreUnavailableError: not now.
        """
        rows = await self.store.query(
            "SELECT partition, max(offset) AS highest FROM inference_events WHERE topic = {topic:String} "
            "GROUP BY partition",
            {"topic": COMPLETED.name},
        )
        return {int(row["partition"]): int(row["highest"]) for row in rows}

    async def spent(
        self, spend_keys: Iterable[SpendKey], now: datetime, through: Mapping[int, int] | None = None
    ) -> dict[SpendKey, list[Spent]]:
        """What each has spent in the period of `now` and in the next, which may have
        begun by another clock; of the log's records only those up to `through`.

        Raises:
            StoreUnavailableError: not now.
        """
        together: dict[tuple[SubjectKind, Period, Period], list[SpendKey]] = defaultdict(list)
        for spend_key in spend_keys:
            present = spend_key.period_at(now)
            together[spend_key.spender.kind, present, spend_key.period_at(present.end)].append(spend_key)
        found: dict[SpendKey, list[Spent]] = {}
        for (kind, present, following), group in together.items():
            sums = await self._sums(kind, present, group, through)
            for spend_key in group:
                here, later = sums.get(
                    (spend_key.spender.tenant, spend_key.spender.id), (Decimal(0), Decimal(0))
                )
                found[spend_key] = [Spent(present.start, here), Spent(following.start, later)]
        return found

    async def _sums(
        self,
        kind: SubjectKind,
        present: Period,
        spend_keys: Iterable[SpendKey],
        through: Mapping[int, int] | None,
    ) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
        column, spenders = _COLUMNS[kind], {spend_key.spender for spend_key in spend_keys}
        rows = await self.store.query(
            f"SELECT tenant AS of_tenant, {column} AS of_subject, "  # noqa: S608  names of ours
            f"sumIf({_COST}, completed_at < {{end:DateTime64(3, 'UTC')}}) AS here, "
            f"sumIf({_COST}, completed_at >= {{end:DateTime64(3, 'UTC')}}) AS later "
            "FROM inference_events WHERE completed_at >= {start:DateTime64(3, 'UTC')} "
            f"AND tenant IN {{tenants:Array(String)}} AND {column} IN {{ids:Array(String)}} "
            f"{'' if through is None else _WITHIN}GROUP BY of_tenant, of_subject",
            {
                "start": present.start,
                "end": present.end,
                "tenants": sorted({one.tenant for one in spenders}),
                "ids": sorted({one.id for one in spenders}),
                "topic": COMPLETED.name,
                "through": [(through or {}).get(one, -1) for one in range(max(through or {0}) + 1)],
            },
        )
        return {
            (str(row["of_tenant"]), str(row["of_subject"])): (Decimal(row["here"]), Decimal(row["later"]))
            for row in rows
        }
