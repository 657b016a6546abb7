"""How a budget stands, on its line of `tocsin budgets list`."""

from typing import Any

import pytest

from services.cli.control.budgets import KIND

BUDGET: dict[str, Any] = {
    "budget_id": "phone",
    "tenant": "clinic",
    "subject": {"kind": "key", "id": "9u7gk1u4"},
    "limit_usd": "2",
    "period": "day",
    "hard": True,
    "deleted_at": None,
}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"spent_usd": "0.5", "left_usd": "1.5", "is_exhausted": False, "renews_at": "R"},
            "0.5 spent, 1.5 left, renews R",
        ),
        (
            {"spent_usd": "2", "left_usd": "0", "is_exhausted": True, "renews_at": "R"},
            "2 spent, exhausted, renews R",
        ),
        ({"spent_usd": None}, "open"),
        ({"spent_usd": None, "deleted_at": "D"}, "deleted D"),
    ],
)
def test_budget_line_tells_what_is_left(more: dict[str, Any], said: str) -> None:
    """Spent, left or exhausted; nothing of that where it is not known."""
    assert KIND.line(BUDGET | more).endswith(f"hard  {said}")
