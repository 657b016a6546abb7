"""A share of a budget was spent: budgets.warned."""

from decimal import Decimal
from typing import Literal

from pydantic import AwareDatetime

from schemas.base import Message
from schemas.control import Subject


class BudgetWarned(Message):
    """What a budget's subject spent in a period has reached `share` of its limit (1 is all
    of it).

    Said once for each budget, period, limit and share, whichever gateway sees it.
    `spent_usd` is what was known then. `renews_at` is when the next period begins.
    """

    budget_id: str
    tenant: str
    subject: Subject
    period: Literal["day", "month"]
    time_zone: str
    period_start: AwareDatetime
    renews_at: AwareDatetime
    share: Decimal
    limit_usd: Decimal
    spent_usd: Decimal
    hard: bool
    warned_at: AwareDatetime
