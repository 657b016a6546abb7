"""Whom costs are of, by the names that administrators use."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.control import UserChanged
from services.common.control.state import ControlState
from services.common.identity import pseudonym, pseudonym_of_named
from services.console.domain.cost_names import CostNames
from services.console.domain.cost_query import InvalidQueryError
from tests.unit.common.control.entries import signed_key, state_of, tenant

KEY = "a pseudonym key for tests"
BEGAN = datetime(2026, 11, 27, tzinfo=UTC)


def _state() -> ControlState:
    users = [UserChanged(tenant=of, user="zoé", created_at=BEGAN) for of in ("acme", "globex")]
    return state_of(tenant(), tenant("globex"), *users, signed_key(key_id="phone000", name="phone")[1])


def _found(requests: int, *groups: dict[str, Any], by: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"group_by": list(by), "total": {"requests": requests}, "groups": list(groups)}


def test_user_is_asked_for_by_name() -> None:
    """`tenant/user`, or the id where the tenant is named or the caller's; a pseudonym
    stays as it is.
    """
    wanted = pseudonym(KEY, tenant="acme", user="zoé")
    names = CostNames(_state(), KEY)
    for only in ({"user": "acme/zoé"}, {"user": "zoé", "tenant": "acme"}, {"user": wanted}):
        assert names.looked_up(only)["user"] == wanted
    assert CostNames(_state(), KEY, tenant="acme").looked_up({"user": "zoé"})["user"] == wanted
    with pytest.raises(InvalidQueryError, match="say whose: TENANT/zoé"):
        names.looked_up({"user": "zoé"})
    blind = CostNames(_state(), KEY, tenant="acme", shows_users=False)
    assert blind.looked_up({"user": "zoé"}) == {"user": "zoé"}


@pytest.mark.parametrize(
    "only", [{"tenant": "acm"}, {"key": "phone001"}, {"user": "acme/zoe"}, {"user": f"u_{'0' * 32}"}]
)
def test_name_that_is_not_there_is_an_error_unless_there_were_requests(only: dict[str, str]) -> None:
    """0 USD would look like an answer; of who is gone the requests stay."""
    names = CostNames(_state(), KEY)
    with pytest.raises(InvalidQueryError, match=r"there is no (tenant|key|user)"):
        names.require_known(only, _found(0))
    names.require_known(only, _found(1))
    CostNames(ControlState(), KEY, is_read=False).require_known(only, _found(0))


def test_name_that_is_there_may_have_spent_nothing() -> None:
    """An administrator of another tenant learns nothing of it."""
    for only in ({"tenant": "default"}, {"key": "phone000"}, {"user": "globex/zoé"}):
        CostNames(_state(), KEY).require_known(only, _found(0))
    others = CostNames(_state(), KEY, tenant="globex")
    with pytest.raises(InvalidQueryError, match="there is no key"):
        others.require_known({"key": "phone000"}, _found(0))


def test_groups_are_named_for_who_may_know() -> None:
    """Users who called and those whom a body named, by one name; null for strangers."""
    called = pseudonym(KEY, tenant="acme", user="zoé")
    named = pseudonym_of_named(KEY, tenant="acme", user="zoé")
    groups = [{"user": one, "key": "phone000"} for one in (called, named, "u_x")]
    found = _found(3, *groups, by=("user", "key"))
    shown = CostNames(_state(), KEY).named(found)["groups"]
    assert [one["user_id"] for one in shown] == ["acme/zoé", "acme/zoé", None]
    assert [one["key_name"] for one in shown] == ["phone"] * 3
    others = CostNames(_state(), KEY, tenant="globex").named(found)["groups"]
    assert [(one["user_id"], one["key_name"]) for one in others] == [(None, None)] * 3
    assert CostNames(_state(), KEY, shows_users=False).named(found) == found
