"""What changes are allowed, and what they come to."""

import contextlib
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import (
    KeyChanged,
    Limits,
    ModelChanged,
    ModelPrice,
    PolicyChanged,
    RouteChanged,
    RouteTarget,
    Scope,
    Subject,
    ThresholdsChanged,
    UserChanged,
)
from services.common.control import changes
from services.common.control.changes import etag, public_fields
from services.common.control.errors import (
    ChangeRefusedError,
    ConflictError,
    InvalidChangeError,
    NoSuchEntryError,
    StaleError,
)
from services.common.control.state import ControlState
from tests.unit.common.control.entries import NOW, after, budget, signed_key, state_of, tenant

_, KEY = signed_key()


def test_entry_is_made_changed_deleted_restored_and_removed() -> None:
    """Its version counts on, until it is gone for good."""
    state = after(ControlState(), changes.create(tenant(version=0)))
    state = after(state, changes.edit("tenant", "acme", {"name": "Acme"}))
    assert (state.tenants["acme"].version, state.tenants["acme"].name) == (2, "Acme")
    state = after(state, changes.delete("tenant", "acme"))
    assert (state.tenants["acme"].deleted_at, state.is_open("acme")) == (NOW, False)
    with pytest.raises(NoSuchEntryError, match="restore it first"):
        changes.edit("tenant", "acme", {"name": "x"})(state, NOW)
    state = after(state, changes.restore("tenant", "acme"))
    assert (state.tenants["acme"].version, state.is_open("acme")) == (4, True)
    assert not after(state, changes.purge("tenant", "acme")).tenants


def test_entry_that_is_there_cannot_be_made_again() -> None:
    """Nor one that was deleted, which can be restored instead."""
    with pytest.raises(ConflictError, match="is there already"):
        changes.create(tenant())(state_of(tenant()), NOW)
    with pytest.raises(ConflictError, match="tocsin tenants restore acme"):
        changes.create(tenant())(state_of(tenant(deleted_at=NOW)), NOW)


def test_change_of_another_version_than_expected_is_a_conflict() -> None:
    """If-Match: an ETag never comes back, not even after removal and a new beginning."""
    first = tenant(changed_at=NOW)
    state = state_of(first)

    def matching(change: changes.Change, *tags: str) -> changes.Change:
        return changes.matching("tenant", "acme", tags, change)

    rename = changes.edit("tenant", "acme", {"name": "x"})
    fresh = after(state, matching(rename, "9-9", etag(first)))
    again = state_of(tenant(changed_at=NOW + timedelta(seconds=1)))
    for change in (rename, changes.delete("tenant", "acme"), changes.purge("tenant", "acme")):
        for other in (fresh, again):
            with pytest.raises(StaleError, match="read it again"):
                matching(change, etag(first))(other, NOW)
            with pytest.raises(StaleError):
                matching(change)(other, NOW)
            matching(change, "*")(other, NOW)
            changes.matching("tenant", "acme", None, change)(other, NOW)
    with pytest.raises(NoSuchEntryError):
        matching(rename, etag(first))(ControlState(), NOW)


@pytest.mark.parametrize(
    "field", ["tenant", "key_id", "secret_hmac", "record_mac", "version", "revoked_at", "nothing"]
)
def test_field_that_cannot_be_changed_is_named(field: str) -> None:
    """Ids, history and hashes are not edited; a revocation stands."""
    with pytest.raises(InvalidChangeError, match=field):
        changes.edit("key", KEY.key_id, {field: "x"})(state_of(tenant(), KEY), NOW)


def test_value_of_a_wrong_type_is_named_by_its_field() -> None:
    """As the API shall say it."""
    with pytest.raises(InvalidChangeError) as refused:
        changes.edit("key", KEY.key_id, {"scopes": ["fly"]})(state_of(tenant(), KEY), NOW)
    assert refused.value.field == "scopes.0"


def test_revoked_key_stays_revoked_since_when_it_was() -> None:
    """Revoking twice is no mistake and no change; its former secret ends with it; a
    deletion and its restoring do not undo it.
    """
    rotated = after(state_of(tenant(), KEY), changes.rotate_key(KEY.key_id, "s" * 64, overlap_s=3600))
    state = after(rotated, changes.revoke_key(KEY.key_id))
    revoked = state.keys[KEY.key_id]
    assert (revoked.previous_secret_hmac, revoked.previous_secret_until) == ("", None)
    again = changes.revoke_key(KEY.key_id)(state, NOW + timedelta(days=1))
    assert again.before == again.after == revoked
    state = after(state, changes.revoke_key(KEY.key_id), NOW + timedelta(days=1))
    state = after(state, changes.delete("key", KEY.key_id))
    state = after(state, changes.restore("key", KEY.key_id))
    assert state.keys[KEY.key_id].revoked_at == NOW
    with pytest.raises(NoSuchEntryError):
        changes.revoke_key("nosuchid")(state, NOW)


@pytest.mark.parametrize(
    "other",
    [
        KEY,
        UserChanged(tenant="acme", user="jo", created_at=NOW),
        budget(),
        PolicyChanged(tenant="acme"),
        RouteChanged(route="r", tenant="acme", targets=(RouteTarget(model="m"),)),
    ],
)
def test_tenant_that_still_owns_something_is_not_removed(other: Any) -> None:
    """A later tenant of the same name must not inherit it, deleted or not."""
    for owned in (other, other.model_copy(update={"deleted_at": NOW})):
        with pytest.raises(ConflictError, match="still has"):
            changes.purge("tenant", "acme")(state_of(tenant(), owned), NOW)
    assert changes.purge("tenant", "acme")(state_of(tenant(), tenant("other")), NOW).after is None


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (KEY.model_copy(update={"tenant": "nobody"}), "tenant"),
        (KEY.model_copy(update={"tenant": "closed"}), "tenant"),
        (KEY.model_copy(update={"scopes": ()}), "scopes"),
        (KEY.model_copy(update={"scopes": (Scope.INFER, Scope.PLATFORM)}), "scopes"),
        (UserChanged(tenant="acme", user="jo", scopes=(Scope.PLATFORM,), created_at=NOW), "scopes"),
        (KEY.model_copy(update={"user": "a/b"}), "user"),
        (KEY.model_copy(update={"name": "a\nb"}), "name"),
        (KEY.model_copy(update={"expires_at": NOW}), "expires_at"),
        (tenant("UPPER"), "tenant"),
        (tenant("a/b"), "tenant"),
        (tenant("*"), "tenant"),
        (tenant("x", share=float("nan")), "share"),
        (tenant("x", share=100.5), "share"),
        (tenant("x", share=1000), "share"),
        (tenant("x", limits={"requests_per_minute": -1}), "limits.requests_per_minute"),
        (UserChanged(tenant="nobody", user="jo", created_at=NOW), "tenant"),
        (UserChanged(tenant="acme", user="", created_at=NOW), "user"),
        (budget(subject=Subject(kind="tenant", id="other")), "subject.id"),
        (budget(subject=Subject(kind="key", id="nosuchid")), "subject.id"),
        (budget(subject=Subject(kind="user", id="acme/nobody")), "subject.id"),
        (budget(limit_usd=Decimal(-1)), "limit_usd"),
        (budget(time_zone="../../etc/passwd"), "time_zone"),
        (budget(time_zone="Mars/Base"), "time_zone"),
        (budget(warn_at=(Decimal(0),)), "warn_at"),
        (
            ModelChanged(
                model="m",
                prices=(ModelPrice(valid_from=date(2026, 2, 1)), ModelPrice(valid_from=date(2026, 1, 1))),
            ),
            "prices",
        ),
        (
            ModelChanged(
                model="m", prices=(ModelPrice(valid_from=NOW.date(), output_per_million_usd=Decimal(-1)),)
            ),
            "prices.0.output_per_million_usd",
        ),
        (RouteChanged(route="r", targets=()), "targets"),
        (RouteChanged(route="r", targets=(RouteTarget(model="m", weight=float("inf")),)), "targets"),
        (ThresholdsChanged(medium=2), "low"),
        (ThresholdsChanged(critical=float("nan")), "critical"),
        (PolicyChanged(tenant="nobody"), "tenant"),
        (PolicyChanged(retention_days=0), "retention_days"),
        (PolicyChanged(retention_by_table={"audit": 3}), "retention_by_table"),
        (PolicyChanged(retention_by_table={"requests": 0}), "retention_by_table"),
        (PolicyChanged(retention_by_table={"findings": 3, "alerts": 10_001}), "retention_by_table"),
    ],
)
def test_entry_that_makes_no_sense_is_refused_by_its_field(entry: Any, field: str) -> None:
    """Made or put."""
    state = state_of(tenant(), tenant("closed", deleted_at=NOW))
    for change in (changes.create(entry), changes.put(entry)):
        with pytest.raises(InvalidChangeError) as refused:
            change(state, NOW)
        assert refused.value.field == field


@pytest.mark.parametrize(
    "entry",
    [
        KEY,
        KEY.model_copy(update={"tenant": "default", "user": "jo@example.org"}),
        UserChanged(tenant="acme", user="jo@example.org", created_at=NOW),
        budget(),
        budget(subject=Subject(kind="model", id="m"), time_zone="Europe/Paris", hard=True),
        ModelChanged(model="m", prices=(ModelPrice(valid_from=NOW.date()),)),
        RouteChanged(route="r", targets=(RouteTarget(model="m"),), fallbacks=("n",)),
        ThresholdsChanged(),
        PolicyChanged(tenant="acme"),
    ],
)
def test_entry_that_makes_sense_is_taken(entry: Any) -> None:
    """And stands in the state as version 1."""
    jo = UserChanged(tenant="default", user="jo@example.org", created_at=NOW)
    state = after(state_of(tenant(), jo), changes.create(entry))
    assert state.get(entry.kind, entry.entry_id) == entry.model_copy(update={"version": 1})


def test_public_fields_hold_no_hash() -> None:
    """What is shown and audited."""
    text = str(public_fields(KEY))
    assert KEY.secret_hmac not in text
    assert KEY.record_mac not in text
    assert isinstance(KEY, KeyChanged)
    assert KEY.key_id in text
    assert Scope.INFER.value in text


def test_switched_model_keeps_its_prices_and_must_be_known() -> None:
    """By the models file, or by an earlier change."""
    priced = ModelChanged(model="m", prices=(ModelPrice(valid_from=NOW.date()),), version=3)
    state = after(state_of(priced), changes.switch_model("m", enabled=False, known=()))
    assert state.models["m"] == priced.model_copy(update={"enabled": False, "version": 4})
    state = after(state, changes.switch_model("new", enabled=False, known=("new",)))
    assert [state.models[one].enabled for one in ("m", "new")] == [False, False]
    with pytest.raises(NoSuchEntryError, match="models file has new"):
        changes.switch_model("typo", enabled=False, known=("new",))(state, NOW)


def test_user_who_still_has_keys_is_not_removed() -> None:
    """A user who is unknown may be served: the keys of one who was shut out would be
    good again. Deleted keys count, since they can be restored; other users' do not.
    """
    person = UserChanged(tenant="acme", user="jo", created_at=NOW, version=1)
    _, key = signed_key(user="jo")
    others = [signed_key(user="ann")[1], signed_key(tenant="globex", user="jo")[1], signed_key()[1]]
    for shut in ({"suspended_at": NOW}, {"deleted_at": NOW}, {}):
        for owned in (key, key.model_copy(update={"deleted_at": NOW})):
            state = state_of(tenant(), tenant("globex"), person.model_copy(update=shut), owned, *others)
            with pytest.raises(ConflictError, match=f"still has the key '{key.key_id}'"):
                changes.purge("user", "acme/jo")(state, NOW)
        state = after(state, changes.purge("key", key.key_id))
        assert not after(state, changes.purge("user", "acme/jo")).users


def test_key_of_a_deleted_user_is_neither_made_nor_restored() -> None:
    """It would open nothing, and nobody would say so; revoking it still works."""
    gone = UserChanged(tenant="acme", user="jo", created_at=NOW, deleted_at=NOW, version=1)
    _, key = signed_key(user="jo")
    state = state_of(tenant(), gone, key.model_copy(update={"deleted_at": NOW}))
    _, another = signed_key(user="jo")
    for change in (changes.create(another), changes.restore("key", key.key_id)):
        with pytest.raises(InvalidChangeError, match="tocsin users restore"):
            change(state, NOW)
    state = after(state_of(tenant(), gone, key), changes.revoke_key(key.key_id))
    assert state.keys[key.key_id].revoked_at == NOW


@pytest.mark.parametrize("removal", [changes.delete, changes.purge])
def test_model_that_is_switched_off_keeps_its_entry(removal: Any) -> None:
    """Without it the model would be as the file has it: on."""
    state = state_of(ModelChanged(model="m", enabled=False, version=1))
    with pytest.raises(ConflictError, match="tocsin models enable m"):
        removal("model", "m")(state, NOW)
    state = after(state, changes.switch_model("m", enabled=True, known=()))
    state = after(state, removal("model", "m"))
    assert "m" not in state.models or state.models["m"].deleted_at == NOW


@pytest.mark.parametrize("shut", [{"deleted_at": NOW}, {"suspended_at": NOW}])
def test_default_tenant_that_is_shut_keeps_its_entry(shut: dict[str, Any]) -> None:
    """It is there without one, and open; any other tenant is shut without one."""
    state = state_of(tenant("default", **shut), tenant(**shut))
    with pytest.raises(ConflictError, match="tocsin tenants restore default"):
        changes.purge("tenant", "default")(state, NOW)
    assert not after(state, changes.purge("tenant", "acme")).is_open("acme")
    opened = state_of(tenant("default"))
    assert after(opened, changes.purge("tenant", "default")).is_open("default")


_KINDS_AND_IDS = st.sampled_from(
    [
        ("tenant", "acme"),
        ("tenant", "default"),
        ("user", "acme/jo"),
        ("user", "default/jo"),
        ("policy", "acme"),
        ("policy", "*"),
        ("model", "m"),
        ("key", "first000"),
        ("key", "second00"),
    ]
)


@given(
    shut=st.sets(st.sampled_from(["acme", "default", "acme/jo", "default/jo", "m"])),
    removals=st.lists(
        st.tuples(st.sampled_from([changes.delete, changes.purge]), _KINDS_AND_IDS), max_size=9
    ),
)
def test_removing_entries_in_any_order_opens_nothing_that_was_shut(
    shut: set[str], removals: list[tuple[Any, tuple[str, str]]]
) -> None:
    """Whatever an administrator deletes or purges: no key and no model becomes good."""

    def entered(name: str) -> dict[str, Any]:
        return {"suspended_at": NOW} if name in shut else {}

    state = state_of(
        tenant(**entered("acme")),
        tenant("default", **entered("default")),
        *(
            UserChanged(tenant=one, user="jo", created_at=NOW, version=1, **entered(f"{one}/jo"))
            for one in ("acme", "default")
        ),
        PolicyChanged(tenant="acme", version=1),
        PolicyChanged(version=1),
        ModelChanged(model="m", enabled="m" not in shut, version=1),
        signed_key(key_id="first000", user="jo")[1],
        signed_key(tenant="default", key_id="second00", user="jo")[1],
    )
    served = _served(state)
    for removal, (kind, entry_id) in removals:
        with contextlib.suppress(ChangeRefusedError):
            state = after(state, removal(kind, entry_id))
        assert _served(state) <= served
        served = _served(state)


def _served(state: ControlState) -> set[str]:
    """The keys that are good, and the models that are on."""
    models = {
        name for name in ("m",) if (one := state.models.get(name)) is None or one.deleted_at or one.enabled
    }
    return models | {
        one.key_id
        for one in state.keys.values()
        if one.deleted_at is None and state.is_open(one.tenant, one.user)
    }


def test_only_a_key_that_is_good_can_be_rotated() -> None:
    """A new secret must not wake what was ended; its id and its rights stay."""
    plan = changes.rotate_key(KEY.key_id, "0" * 64, overlap_s=60)(state_of(tenant(), KEY), NOW)
    assert plan.verb == "rotated"
    assert plan.after is not None
    assert {"secret_hmac", "previous_secret_hmac", "record_mac"}.isdisjoint(changes.public_fields(plan.after))
    same = {"version", "secret_hmac", "previous_secret_hmac", "previous_secret_until"}
    assert plan.after.model_dump(exclude=same) == KEY.model_dump(exclude=same)
    for ended in ({"revoked_at": NOW}, {"expires_at": NOW}):
        with pytest.raises(ConflictError, match="make another"):
            changes.rotate_key(KEY.key_id, "0" * 64)(state_of(tenant(), KEY.model_copy(update=ended)), NOW)
    with pytest.raises(NoSuchEntryError):
        changes.rotate_key(KEY.key_id, "0" * 64)(
            state_of(tenant(), KEY.model_copy(update={"deleted_at": NOW})), NOW
        )


def test_objects_are_merged_and_lists_replaced() -> None:
    """RFC 7396: two editors of two limits both get theirs; null takes away."""
    state = state_of(tenant(limits={"requests_per_minute": 5, "tokens_per_minute": 7}))
    state = after(state, changes.edit("tenant", "acme", {"limits": {"requests_per_minute": None}}))
    state = after(state, changes.edit("tenant", "acme", {"limits": {"concurrent_streams": 2}}))
    assert state.tenants["acme"].limits == Limits(tokens_per_minute=7, concurrent_streams=2)
    state = after(state, changes.edit("tenant", "acme", {"limits": None}))
    assert state.tenants["acme"].limits is None


def test_every_wrong_field_is_named_at_once() -> None:
    """Whoever fills in a form mends it in one go."""
    wrong = {"name": "a\nb", "share": 0, "limits": {"requests_per_minute": -1}}
    with pytest.raises(InvalidChangeError) as refused:
        changes.edit("tenant", "acme", wrong)(state_of(tenant()), NOW)
    assert [field for field, _ in refused.value.problems] == ["name", "limits.requests_per_minute", "share"]


@pytest.mark.parametrize("name", [".", "..", "a\u202eb", "a\x9bb", "a/b", ""])
def test_user_whose_name_no_path_or_terminal_can_hold_is_refused(name: str) -> None:
    """Over HTTP a user's name is a part of the path; lists are read in terminals."""
    user = UserChanged(tenant="acme", user=name, created_at=NOW)
    with pytest.raises(InvalidChangeError):
        changes.create(user)(state_of(tenant()), NOW)
