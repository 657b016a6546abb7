"""Who is let in."""

import dataclasses
import sys
from datetime import timedelta
from typing import Any

import pytest

from schemas.control import KeyChanged, Scope, UserChanged
from services.common.control.authentication import KeyChecker, Refusal
from services.common.control.changes import rotate_key
from services.common.control.principal import Principal, principal_of
from services.common.control.state import ControlRecord, fold
from services.common.identity import create_secret, sign_key
from tests.unit.common.control.entries import NOW, PEPPER, record_of, signed_key, state_of, tenant

CLEAR, KEY = signed_key(user="jo")
HEADER = f"Bearer {CLEAR}"


def checked(
    key: KeyChanged, *others: Any, header: str | None = HEADER, checker: KeyChecker | None = None
) -> object:
    """What comes of a header where the state has this key."""
    state = state_of(tenant(), key, *others)
    return (checker or KeyChecker(PEPPER)).check(state, header, Scope.INFER, now=NOW)


def test_good_key_is_let_in() -> None:
    """By its record."""
    assert checked(KEY) == principal_of(KEY)
    assert checked(KEY, header=f"bearer  {CLEAR} ") == principal_of(KEY)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Basic abc", f"Bearer {CLEAR}x", CLEAR, "Bearer \udcff"],
    ids=["none", "empty", "scheme only", "other scheme", "too long", "no scheme", "not text"],
)
def test_header_without_a_key_is_malformed(header: str | None) -> None:
    """Whatever it holds instead."""
    assert checked(KEY, header=header) is Refusal.MALFORMED


@pytest.mark.parametrize(
    "edit",
    [
        {"scopes": (Scope.INFER, Scope.ADMIN)},
        {"tenant": "globex"},
        {"user": "ann"},
        {"models": ("everything",)},
        {"expires_at": NOW + timedelta(days=9999)},
        {"name": "another"},
        {"version": 2},
        {"record_mac": ""},
        {"record_mac": "0" * 64},
    ],
)
def test_record_edited_on_the_bus_opens_nothing(edit: dict[str, Any]) -> None:
    """Whichever field was changed: the record's MAC binds them all."""
    assert checked(KEY.model_copy(update=edit), tenant("globex")) is Refusal.UNSIGNED


def test_record_signed_for_one_key_does_not_serve_another() -> None:
    """Neither its MAC nor its secret's hash can be moved."""
    _, other = signed_key()
    stolen = KEY.model_copy(update={"secret_hmac": other.secret_hmac, "record_mac": other.record_mac})
    assert checked(stolen) is Refusal.UNKNOWN
    moved = other.model_copy(update={"secret_hmac": KEY.secret_hmac, "key_id": KEY.key_id})
    assert checked(moved) is Refusal.UNSIGNED
    assert checked(KEY, checker=KeyChecker("another pepper")) is Refusal.UNKNOWN


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"revoked_at": NOW}, Refusal.REVOKED),
        ({"revoked_at": NOW + timedelta(seconds=1)}, None),
        ({"deleted_at": NOW}, Refusal.REVOKED),
        ({"expires_at": NOW}, Refusal.EXPIRED),
        ({"expires_at": NOW + timedelta(seconds=1)}, None),
        ({"tenant": "nobody"}, Refusal.SUSPENDED),
        ({"scopes": (Scope.READ,)}, Refusal.SCOPE),
    ],
)
def test_signed_key_is_good_within_its_rights(fields: dict[str, Any], refusal: Refusal | None) -> None:
    """Time, tenant and scope."""
    key = sign_key(KEY.model_copy(update=fields), pepper=PEPPER)
    assert checked(key) == (refusal or principal_of(key))


def test_known_key_is_asked_again_once_anything_of_it_changes() -> None:
    """What was remembered holds only for the very record that was checked."""
    checker, state = KeyChecker(PEPPER), state_of(tenant(), KEY)

    def outcome() -> object:
        return checker.check(state, HEADER, Scope.INFER, now=NOW)

    assert outcome() == principal_of(KEY)
    state = fold(state, [record_of(tenant("unrelated"))])
    assert outcome() == principal_of(KEY)
    widened = KEY.model_copy(update={"scopes": tuple(Scope), "version": 2})
    state = fold(state, [record_of(widened)])
    assert outcome() is Refusal.UNSIGNED
    state = fold(state, [record_of(sign_key(widened.model_copy(update={"version": 3}), pepper=PEPPER))])
    assert isinstance(outcome(), Principal)
    state = fold(state, [record_of(tenant(version=2, suspended_at=NOW))])
    assert outcome() is Refusal.SUSPENDED
    state = fold(state, [record_of(tenant(version=3))])
    state = fold(
        state, [record_of(UserChanged(tenant="acme", user="jo", created_at=NOW, deleted_at=NOW, version=1))]
    )
    assert outcome() is Refusal.SUSPENDED
    state = fold(state, [ControlRecord(f"key:{KEY.key_id}", None)])
    assert outcome() is Refusal.UNKNOWN


def test_memory_of_the_checker_is_bounded_and_holds_no_key() -> None:
    """Strangers leave nothing behind; of friends the oldest goes."""
    keys = [signed_key() for _ in range(5)]
    checker, state = KeyChecker(PEPPER, capacity=3), state_of(tenant(), *(key for _, key in keys))
    for clear, key in keys * 2:
        assert checker.check(state, f"Bearer {clear}", Scope.INFER, now=NOW) == principal_of(key)
        assert checker.check(state, f"Bearer {clear}0", Scope.INFER, now=NOW) is Refusal.MALFORMED
        assert checker.check(state, f"Bearer {clear[:-1]}", Scope.INFER, now=NOW) is Refusal.MALFORMED
    assert len(checker._known) == 3
    assert not any(clear in repr(checker) for clear, _ in keys)


@pytest.mark.parametrize(
    "header",
    [f"Bearer {CLEAR[:13]}{'x' * 43}", "Bearer tsn_zzzzzzzz_" + "x" * 43],
    ids=["known id", "unknown id"],  # a random key as a name differs between xdist's workers
)
def test_wrong_key_costs_the_same_whether_or_not_its_id_is_known(header: str) -> None:
    """Otherwise the time that a refusal takes would tell which ids there are."""
    digests: list[object] = []

    def count(_frame: object, event: str, called: object) -> None:
        if event == "c_call" and "digest" in getattr(called, "__name__", ""):
            digests.append(called)

    state, checker = state_of(tenant(), KEY), KeyChecker(PEPPER)
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        assert checker.check(state, header, Scope.INFER, now=NOW) is Refusal.UNKNOWN
    finally:
        sys.setprofile(before)
    assert [getattr(one, "__name__", "") for one in digests] == [
        "digest",
        "hmac_digest",
        "compare_digest",
        "compare_digest",
    ]


def test_principal_is_made_once_and_cannot_be_changed() -> None:
    """A known key costs no new one; nobody who holds it can widen it."""
    checker, state = KeyChecker(PEPPER), state_of(tenant(), KEY)
    first = checker.check(state, HEADER, Scope.INFER, now=NOW)
    assert checker.check(state, HEADER, Scope.INFER, now=NOW) is first
    assert isinstance(first, Principal)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.tenant = "globex"  # type: ignore[misc]
    assert not first.is_platform_admin


def test_rotated_key_opens_with_both_secrets_until_the_overlap_ends() -> None:
    """Also where the old one was remembered; of two rotations the last one's stands."""
    checker, state = KeyChecker(PEPPER), state_of(tenant(), KEY)

    def rotated(overlap_s: float) -> str:
        nonlocal state
        clear, kept = create_secret(KEY.key_id, pepper=PEPPER)
        plan = rotate_key(KEY.key_id, kept, overlap_s=overlap_s)(state, NOW)
        assert isinstance(plan.after, KeyChanged)
        state = fold(state, [record_of(sign_key(plan.after, pepper=PEPPER))])
        return clear

    def outcome(clear: str, after_s: float = 0) -> object:
        now = NOW + timedelta(seconds=after_s)
        found = checker.check(state, f"Bearer {clear}", Scope.INFER, now=now)
        return found if isinstance(found, Refusal) else found.key_id

    second = rotated(60)
    assert [outcome(one, 59) for one in (CLEAR, second)] == [KEY.key_id] * 2
    assert [outcome(one, 60) for one in (CLEAR, second)] == [Refusal.ROTATED, KEY.key_id]
    third = rotated(60)
    assert [outcome(one) for one in (CLEAR, second, third)] == [Refusal.UNKNOWN, KEY.key_id, KEY.key_id]
    fourth = rotated(0)
    assert [outcome(one) for one in (second, third, fourth)] == [Refusal.UNKNOWN] * 2 + [KEY.key_id]


@pytest.mark.parametrize("edit", [{"previous_secret_hmac": "f" * 64}, {"previous_secret_until": NOW}])
def test_old_secret_written_into_a_record_on_the_bus_opens_nothing(edit: dict[str, Any]) -> None:
    """The record's MAC binds what rotation wrote, too."""
    assert checked(KEY.model_copy(update=edit)) is Refusal.UNSIGNED
