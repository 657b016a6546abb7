"""Entries and records for tests of the control state."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from schemas.control import AnyEntry, BudgetChanged, KeyChanged, Subject, TenantChanged, control_key
from services.common.control.changes import Change
from services.common.control.state import ControlRecord, ControlState, fold
from services.common.identity import create_key, sign_key

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
PEPPER = "a pepper for the tests only"


def tenant(tenant_id: str = "acme", **fields: Any) -> TenantChanged:
    """A tenant."""
    return TenantChanged(**({"tenant": tenant_id, "created_at": NOW, "version": 1} | fields))


def budget(**fields: Any) -> BudgetChanged:
    """A tenant's budget."""
    values = {
        "budget_id": "b",
        "tenant": "acme",
        "subject": Subject(kind="tenant", id="acme"),
        "period": "month",
        "limit_usd": Decimal(5),
        "created_at": NOW,
    }
    return BudgetChanged(**(values | fields))


def signed_key(*, tenant: str = "acme", **fields: Any) -> tuple[str, KeyChanged]:
    """A key in clear and its record as a writer signs it; `fields` are the record's."""
    clear, record = create_key(pepper=PEPPER, name="n", tenant=tenant, now=NOW)
    return clear, sign_key(record.model_copy(update={"version": 1, **fields}), pepper=PEPPER)


def record_of(entry: AnyEntry) -> ControlRecord:
    """The record that carries an entry."""
    return ControlRecord(control_key(entry.kind, entry.entry_id), entry.encode())


def state_of(*entries: AnyEntry) -> ControlState:
    """The state after these entries."""
    return fold(ControlState(), map(record_of, entries))


def after(state: ControlState, change: Change, now: datetime = NOW) -> ControlState:
    """The state after a change."""
    plan = change(state, now)
    record = ControlRecord(
        control_key(plan.kind, plan.entry_id), None if plan.after is None else plan.after.encode()
    )
    return fold(state, [record])
