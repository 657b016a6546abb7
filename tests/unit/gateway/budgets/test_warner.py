"""Which warnings are still to be said."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from schemas.control import BudgetChanged
from schemas.events.budgets import BudgetWarned
from services.gateway.budgets.book import spenders
from services.gateway.budgets.spending import Spending
from services.gateway.budgets.warner import due
from tests.unit.gateway.budgets import NOW, book, budget, spend_key

TOMORROW = NOW + timedelta(days=1)


class Scene:
    """A budget, what was spent of it, and what was said."""

    def __init__(self, entry: BudgetChanged) -> None:
        self.entry, self.spending, self.spent = entry, Spending(), 0
        self.spending.open(spend_key(entry), [], {}, NOW)
        self.said: dict[str, BudgetWarned] = {}

    def spend(self, dollars: str, at: datetime = NOW) -> None:
        """A request of the tenant's ended."""
        self.spent += 1
        by = spenders("acme", key_id="k", user="", model="m")
        self.spending.add(by, Decimal(dollars), at=at, partition=0, offset=self.spent)

    def warn(self, now: datetime = NOW, *, entry: BudgetChanged | None = None) -> list[Decimal]:
        """The shares that are said now."""
        found = due(book(entry or self.entry).budgets, self.spending, self.said, now)
        self.said |= {one.budget_id: one for one in found}
        return [one.share for one in found]


def shares(*given: str) -> Iterable[Decimal]:
    """Of a limit."""
    return [Decimal(one) for one in given]


def test_each_share_is_said_once_and_in_rising_order() -> None:
    """Several at once where one request crosses them, however they are entered."""
    scene = Scene(budget(warn_at=tuple(shares("1", "0.5", "0.8", "0.5"))))
    assert scene.warn() == []
    scene.spend("4.999999999999")
    assert scene.warn() == []
    scene.spend("0.000000000001")
    assert scene.warn() == shares("0.5")
    assert scene.warn() == []
    scene.spend("5")
    assert scene.warn() == shares("0.8", "1")
    scene.spend("50")
    assert scene.warn() == []
    last = scene.said["b1"]
    assert (last.spent_usd, last.limit_usd, last.renews_at) == (
        10,
        10,
        NOW.replace(hour=0) + timedelta(days=1),
    )


def test_next_period_and_another_limit_are_warned_of_anew() -> None:
    """What was said of yesterday, or of a lower limit, is no warning of today's."""
    scene = Scene(budget())
    scene.spend("10")
    assert scene.warn() == shares("0.8", "1")
    assert scene.warn(TOMORROW) == []
    scene.spend("8", at=TOMORROW)
    assert scene.warn(TOMORROW) == shares("0.8")
    raised = budget(limit_usd=Decimal(20), version=2)
    scene.spend("8", at=TOMORROW)
    assert scene.warn(TOMORROW, entry=raised) == shares("0.8")


def test_budget_without_shares_or_without_spending_is_not_warned_of() -> None:
    """Not even one whose limit is nothing."""
    silent = Scene(budget(warn_at=()))
    silent.spend("99")
    assert silent.warn() == []
    assert Scene(budget(limit_usd=Decimal(0))).warn() == []
