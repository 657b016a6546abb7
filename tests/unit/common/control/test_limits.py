"""Which limits a request is under."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.control import Limits, ModelChanged, TenantChanged, UserChanged
from services.common.control.limits import LimitKind, RuleBook, parse_defaults, rule_name
from services.common.control.state import ControlState
from tests.unit.gateway.limits.scene import caller

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def names(book: RuleBook, state: ControlState | None = None, **fields: Any) -> dict[str, int]:
    """Each limit's name and number."""
    rules = book.rules_of(caller(**fields), "m", state or ControlState())
    return {rule.name: rule.limit for rule in rules}


def test_limits_of_key_user_tenant_and_model_all_hold() -> None:
    """A request is under every one of them."""
    state = ControlState(
        tenants={
            "acme": TenantChanged(tenant="acme", created_at=NOW, limits=Limits(concurrent_streams=9)),
        },
        users={
            "acme/ann": UserChanged(
                tenant="acme", user="ann", created_at=NOW, limits=Limits(tokens_per_minute=500)
            ),
            "other/ann": UserChanged(
                tenant="other", user="ann", created_at=NOW, limits=Limits(tokens_per_minute=1)
            ),
        },
        models={"m": ModelChanged(model="m", limits=Limits(requests_per_minute=70))},
    )
    assert names(RuleBook(), state, limits=Limits(requests_per_minute=5), user="ann") == {
        "key:key00001:requests": 5,
        "user:acme/ann:tokens": 500,
        "tenant:acme:streams": 9,
        "model:m:requests": 70,
    }


def test_nobody_is_limited_where_nothing_says_so() -> None:
    """No limits of their own, and no defaults."""
    assert names(RuleBook(), user="ann") == {}
    assert names(RuleBook(), limits=Limits()) == {}


def test_limits_of_a_deleted_model_entry_hold_no_more() -> None:
    """A soft deletion ends them."""
    entry = ModelChanged(model="m", limits=Limits(requests_per_minute=1), deleted_at=NOW)
    assert names(RuleBook(), ControlState(models={"m": entry})) == {}


def test_default_holds_where_an_entry_names_no_limit_of_that_kind() -> None:
    """Own limits win one by one; a token of an issuer is no key."""
    book = RuleBook(parse_defaults("key.requests_per_minute=10, key.tokens_per_minute=1000"))
    assert names(book) == {"key:key00001:requests": 10, "key:key00001:tokens": 1000}
    assert names(book, limits=Limits(requests_per_minute=99)) == {
        "key:key00001:requests": 99,
        "key:key00001:tokens": 1000,
    }
    assert names(book, key_id="") == {}


def test_changed_limits_hold_at_once() -> None:
    """What was worked out for the former entry is not used again."""
    book = RuleBook()
    assert names(book, limits=Limits(requests_per_minute=5)) == {"key:key00001:requests": 5}
    assert names(book, limits=Limits(requests_per_minute=2)) == {"key:key00001:requests": 2}
    assert names(book) == {}


def test_rule_book_keeps_so_many_and_no_more() -> None:
    """A million users cost no memory for ever."""
    book = RuleBook(parse_defaults("user.requests_per_minute=1"), capacity=10)
    for number in range(100):
        names(book, user=f"u{number}")
    assert len(book._known) == 10


def test_preset_plain_is_ten_a_minute_a_key() -> None:
    """The documented preset."""
    assert parse_defaults("plain") == {"key": Limits(requests_per_minute=10)}
    assert parse_defaults("") == {}


@pytest.mark.parametrize(
    "text", ["key.requests=1", "keys.requests_per_minute=1", "key.requests_per_minute=-1", "x", "plain,plain"]
)
def test_malformed_defaults_are_refused_with_what_there_is(text: str) -> None:
    """The part that is wrong, and how to write it."""
    with pytest.raises(ValueError, match=r"is no limit; write scope\.limit=number"):
        parse_defaults(text)


def test_long_ids_become_short_names_of_their_own() -> None:
    """An issuer may call its users anything."""
    first, second = (rule_name("user", "acme/" + "x" * 500 + end, LimitKind.TOKENS) for end in "ab")
    assert first != second
    assert len(first) < 100
