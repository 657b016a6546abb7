"""Budgets on a clock that the test moves."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from schemas.control import BudgetChanged, Subject
from services.common.budgets.spend import SpendKey, spend_key_of
from services.gateway.budgets.book import BudgetBook

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def budget(**fields: Any) -> BudgetChanged:
    """A hard budget of ten dollars a day for the tenant acme."""
    given = {
        "budget_id": "b1",
        "tenant": "acme",
        "subject": Subject(kind="tenant", id="acme"),
        "period": "day",
        "limit_usd": Decimal(10),
        "hard": True,
        "created_at": NOW,
    }
    return BudgetChanged(**(given | fields))


def spend_key(entry: BudgetChanged) -> SpendKey:
    """What a budget bounds."""
    return spend_key_of(entry, pseudonym_key="a pseudonym key for tests")


def book(*entries: BudgetChanged) -> BudgetBook:
    """A book with these budgets."""
    found = BudgetBook(spend_key)
    found.read({one.budget_id: one for one in entries})
    return found
