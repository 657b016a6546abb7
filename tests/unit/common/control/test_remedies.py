"""What is refused, with the command that mends it."""

from decimal import Decimal

import pytest

from schemas.control import BudgetChanged, Subject, UserChanged
from services.common.control import changes
from services.common.control.errors import ConflictError, InvalidChangeError
from services.common.control.state import ControlState
from tests.unit.common.control.entries import NOW, after, signed_key, state_of, tenant


def test_key_of_a_user_nobody_entered_is_refused_with_the_remedy() -> None:
    """Of a slip of the pen no limit and no budget would know; a key from before the rule
    can still be changed.
    """
    _, key = signed_key(user="ann")
    jo = UserChanged(tenant="acme", user="jo", created_at=NOW)
    for state in (state_of(tenant(), jo), state_of(tenant(), tenant("globex"))):
        with pytest.raises(InvalidChangeError, match="tocsin users create --tenant acme ann"):
            changes.create(key)(state, NOW)
    older = after(state_of(tenant(), key), changes.edit("key", key.key_id, {"name": "renamed"}))
    assert older.keys[key.key_id].name == "renamed"


def test_default_tenant_is_there_and_can_be_changed() -> None:
    """Nobody makes it; what is set of it holds, and a purge takes that back."""
    state = ControlState()
    assert "default" in state.entries("tenant")
    with pytest.raises(ConflictError, match="tocsin tenants set default"):
        changes.create(tenant("default"))(state, NOW)
    limits = {"limits": {"requests_per_minute": 5}}
    state = after(state, changes.edit("tenant", "default", limits))
    assert state.tenants["default"].limits is not None
    state = after(state, changes.purge("tenant", "default"))
    assert (state.tenants, state.is_open("default")) == ({}, True)


def test_purge_names_all_that_stands_in_its_way_and_the_command() -> None:
    """Up to five, and how many more."""
    jo = UserChanged(tenant="acme", user="jo", created_at=NOW)
    keys = [signed_key(key_id=f"key0000{number}")[1] for number in range(5)]
    with pytest.raises(ConflictError) as refused:
        changes.purge("tenant", "acme")(state_of(tenant(), jo, *keys), NOW)
    assert "'key00004' and 1 more; purge them first: `tocsin keys purge key00000`" in str(refused.value)
    with pytest.raises(ConflictError, match=r"tocsin users purge --tenant acme jo`"):
        changes.purge("tenant", "acme")(state_of(tenant(), jo), NOW)


def test_restoring_a_revoked_key_says_that_it_is_for_good() -> None:
    """And that another is to be made."""
    _, key = signed_key(revoked_at=NOW)
    with pytest.raises(ConflictError, match="for good: `tocsin keys create`"):
        changes.restore("key", key.key_id)(state_of(tenant(), key), NOW)


def test_budget_of_a_tenant_nobody_made_says_so() -> None:
    """Rather than whose the budget is."""
    wrong = BudgetChanged(
        budget_id="b1",
        tenant="acme",
        subject=Subject(kind="tenant", id="acm"),
        period="day",
        limit_usd=Decimal(1),
        created_at=NOW,
    )
    with pytest.raises(InvalidChangeError, match=r"subject\.id: there is no tenant 'acm'"):
        changes.create(wrong)(state_of(tenant()), NOW)
