"""What was spent of budgets, beside an installation."""

import asyncio
import sys
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from schemas.control import BudgetChanged
from services.cli.control.control import pseudonym_key
from services.common.budgets.spend import SpendStore
from services.common.clock import utc_now
from services.common.errors import StoreRejectedError, StoreUnavailableError
from services.common.process.settings import CommonSettings
from services.common.requests.model_catalogue import load_models
from services.common.store import Store
from services.console.read_models.budgets import BudgetSpend

_TOLD = ("spent_usd", "left_usd", "share", "renews_at")
_TIMEOUT_S = 10.0


def with_spending(budgets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Budgets with what was spent of them in their present period, in dollars, what is
    left, and whether that is nothing; null where it is not known, which is said.
    """
    entries = [BudgetChanged.model_validate(one) for one in budgets]
    key = pseudonym_key()
    asked = [one for one in entries if one.deleted_at is None and (key or one.subject.kind != "user")]
    standings = _standings(asked, key) if asked else {}
    if not key and any(one.subject.kind == "user" for one in entries):
        print("What users spent is not known without TOCSIN_PSEUDONYM_KEY.", file=sys.stderr)
    return [one | _told(standings.get(one["budget_id"])) for one in budgets]


def _told(standing: dict[str, Any] | None) -> dict[str, Any]:
    if standing is None:
        return dict.fromkeys((*_TOLD, "is_exhausted"))
    return {name: standing[name] for name in _TOLD} | {"is_exhausted": not Decimal(standing["left_usd"])}


def _standings(budgets: Iterable[BudgetChanged], key: str) -> dict[str, dict[str, Any]]:
    try:
        found = asyncio.run(_read(budgets, key))
    except (StoreUnavailableError, StoreRejectedError) as error:
        print(f"What was spent is not known: {error}", file=sys.stderr)
        return {}
    return {str(one["budget_id"]): one for one in found}


async def _read(budgets: Iterable[BudgetChanged], key: str) -> list[dict[str, Any]]:
    settings = CommonSettings.load()
    names = {name: one.name for one in load_models(settings.models_file) for name in one.served_names}
    async with Store(settings.clickhouse_url, name="tocsin-cli", timeout_s=_TIMEOUT_S) as store:
        spend = BudgetSpend(SpendStore(store), key, utc_now, lambda name: names.get(name, name))
        return await spend.read(budgets)
