"""How a budget stands, on its line of `tocsin budgets list`."""

from typing import Any

import pytest

from services.cli.control.budgets import KIND, tenant_in

BUDGET: dict[str, Any] = {
    "budget_id": "phone",
    "tenant": "clinic",
    "subject": {"kind": "key", "id": "9u7gk1u4"},
    "limit_usd": "2",
    "period": "day",
    "hard": True,
    "deleted_at": None,
}
TOMORROW = "2026-11-28T00:00:00+01:00"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"spent_usd": "0.5", "left_usd": "1.5", "is_exhausted": False, "renews_at": TOMORROW},
            ["0.5", "1.5", "2026-11-27 23:00Z"],
        ),
        (
            {"spent_usd": "2", "left_usd": "0", "is_exhausted": True, "renews_at": TOMORROW},
            ["2", "exhausted", "2026-11-27 23:00Z"],
        ),
        ({"spent_usd": None}, ["", "", "open"]),
        ({"spent_usd": None, "deleted_at": TOMORROW}, ["", "", "deleted 2026-11-27 23:00Z"]),
    ],
)
def test_budget_line_tells_what_is_left(more: dict[str, Any], said: list[str]) -> None:
    """Spent, left or exhausted; nothing of that where it is not known."""
    cells = KIND.cells(BUDGET | more)
    assert [cells["spent"], cells["left"], cells["renews"]] == said
    assert cells["kind"] == "hard"


@pytest.mark.parametrize(
    ("kind", "subject", "tenant"),
    [
        ("tenant", "clinic", "clinic"),
        ("user", "surgery/ann", "surgery"),
        ("user", "société/rené@x.fr", "société"),
        ("key", "9u7gk1u4", "default"),
        ("model", "org/m", "default"),
    ],
)
def test_budget_without_a_tenant_belongs_to_whom_it_is_for(kind: str, subject: str, tenant: str) -> None:
    """Nobody has to name it twice."""
    assert tenant_in(kind, subject) == tenant
