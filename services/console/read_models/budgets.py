"""How budgets stand: what was spent of each in its present period, as the store has it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from schemas.control import BudgetChanged
from services.common.budgets.spend import SpendKey, SpendStore, spend_key_of
from services.common.clock import Clock
from services.console.domain.dollars import dollars_text


@dataclass(frozen=True)
class BudgetSpend:
    """Reads what was spent. `model_name` gives a model's own name for any of its names.

    Requests under way are not in it: gateways reserve for them, and what they cost comes
    with their ends.
    """

    store: SpendStore
    pseudonym_key: str
    clock: Clock
    model_name: Callable[[str], str] = lambda name: name

    async def read(self, budgets: Iterable[BudgetChanged]) -> list[dict[str, Any]]:
        """Each budget with `spent_usd`, `left_usd` (not below 0), `share` (1 is all of the
        limit; null where that is 0), `period_start` and `renews_at`; dollars as strings.

        Raises:
            StoreUnavailableError: not now.
        """
        now, listed = self.clock(), list(budgets)
        spend_keys = [
            spend_key_of(one, pseudonym_key=self.pseudonym_key, model_name=self.model_name) for one in listed
        ]
        spent = await self.store.spent(set(spend_keys), now)
        return [
            _described(budget, spend_key, spent[spend_key][0].usd, now)
            for budget, spend_key in zip(listed, spend_keys, strict=True)
        ]


def _described(budget: BudgetChanged, spend_key: SpendKey, spent: Decimal, now: datetime) -> dict[str, Any]:
    period, limit = spend_key.period_at(now), budget.limit_usd
    return {
        "budget_id": budget.budget_id,
        "tenant": budget.tenant,
        "subject": {"kind": budget.subject.kind, "id": budget.subject.id},
        "period": budget.period,
        "time_zone": budget.time_zone,
        "hard": budget.hard,
        "limit_usd": dollars_text(limit),
        "spent_usd": dollars_text(spent),
        "left_usd": dollars_text(max(Decimal(0), limit - spent)),
        "share": round(float(spent / limit), 6) if limit else None,
        "period_start": period.start.isoformat(),
        "renews_at": period.end.isoformat(),
    }
