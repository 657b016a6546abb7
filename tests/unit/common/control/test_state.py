"""The fold: what records make of the state."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import EVERYBODY, PolicyChanged, ThresholdsChanged, UserChanged
from services.common.control.state import ControlRecord, ControlState, Skipped, fold
from tests.unit.common.control.entries import NOW, record_of, signed_key, state_of, tenant


def test_fold_of_each_kind_holds_it_under_its_id() -> None:
    """The newest record of an id is the entry."""
    policy = PolicyChanged(tenant="acme", prompt_attacks="flag", version=1)
    state = state_of(tenant(), tenant(version=2, name="Acme"), policy)
    assert (state.tenants["acme"].name, state.policies["acme"], state.skipped) == ("Acme", policy, Skipped())


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["key:a", "tenant:b", "strange:c", "plain", ":", ""]),
            st.one_of(
                st.none(), st.binary(max_size=40), st.sampled_from([b'{"kind":"alien"}', b"[]", b"{}"])
            ),
        ),
        max_size=12,
    )
)
def test_fold_of_any_bytes_never_fails_and_counts_what_it_skips(
    found: list[tuple[str, bytes | None]],
) -> None:
    """A record that nobody understands changes nothing else, and is counted."""
    before = state_of(tenant("kept"))
    after = fold(before, [ControlRecord(key, value) for key, value in found])
    assert after.tenants == before.tenants
    skipped = after.skipped.unknown_kind + after.skipped.unreadable
    assert skipped >= sum(value is not None for _, value in found)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_fold_one_by_one_equals_the_fold_of_all(versions: list[int]) -> None:
    """And the version never falls, whatever order records come in."""
    records = [record_of(tenant(version=one, name=f"v{one}")) for one in versions]
    stepwise = ControlState()
    for record in records:
        stepwise = fold(stepwise, [record])
    assert stepwise == fold(ControlState(), records)
    assert stepwise.tenants["acme"].version == max(versions)


def test_key_of_an_older_release_is_read_under_its_plain_id() -> None:
    """Records keyed by the id alone; a tombstone of either name removes the key."""
    _, key = signed_key()
    old = key.model_copy(update={"version": 0, "record_mac": ""})
    state = fold(ControlState(), [ControlRecord(key.key_id, old.encode())])
    assert state.keys[key.key_id] == old
    state = fold(state, [record_of(key)])
    assert state.keys[key.key_id].record_mac
    for name in (key.key_id, f"key:{key.key_id}"):
        assert not fold(state, [ControlRecord(name, None)]).keys


def test_record_under_anothers_name_is_not_taken() -> None:
    """Compaction goes by the record's key: it must be the entry's own."""
    _, key = signed_key()
    for name in ("key:other123", "tenant:acme", "other123"):
        state = fold(ControlState(), [ControlRecord(name, key.encode())])
        assert (dict(state.keys), state.skipped.unreadable) == ({}, 1)


@pytest.mark.parametrize(
    "change", [{"scopes": ["infer", "fly"]}, {"expires_at": "someday"}, {"tenant": None}]
)
def test_key_whose_newest_record_is_unreadable_is_good_no_more(change: dict[str, Any]) -> None:
    """A newer version may have taken rights away; the older record must not outlive it."""
    _, key = signed_key()
    newer = json.dumps(key.model_dump(mode="json") | change | {"version": 2}).encode()
    state = fold(state_of(key, tenant()), [ControlRecord(f"key:{key.key_id}", newer)])
    assert (dict(state.keys), state.skipped.unreadable) == ({}, 1)
    assert "acme" in state.tenants


def test_fields_of_a_newer_version_are_passed_over() -> None:
    """An older service reads on."""
    value = json.dumps(tenant().model_dump(mode="json") | {"colour": "green"}).encode()
    assert fold(ControlState(), [ControlRecord("tenant:acme", value)]).tenants["acme"] == tenant()


def test_open_tenants_and_users() -> None:
    """Unknown tenants are closed, `default` is there unmade, users are closed apart."""
    person = UserChanged(tenant="acme", user="jo", created_at=NOW, suspended_at=NOW, version=1)
    state = state_of(tenant(), tenant("gone", deleted_at=NOW), tenant("late", suspended_at=NOW), person)
    asked = [
        ("acme", ""),
        ("acme", "ann"),
        ("acme", "jo"),
        ("gone", ""),
        ("late", ""),
        ("new", ""),
        ("default", ""),
    ]
    assert [state.is_open(*one) for one in asked] == [True, True, False, False, False, False, True]
    assert not state_of(tenant("default", suspended_at=NOW)).is_open("default")


def test_tenant_without_thresholds_of_its_own_has_everybodys() -> None:
    """Its own, else those of all, else the defaults; deleted ones do not count."""
    state = state_of(
        ThresholdsChanged(tenant=EVERYBODY, low=4, version=1),
        ThresholdsChanged(tenant="acme", low=5, version=1),
        ThresholdsChanged(tenant="gone", low=6, version=1, deleted_at=NOW),
    )
    assert [state.thresholds_of(one).low for one in ("acme", "other", "gone")] == [5, 4, 4]
    assert state.has_thresholds("other")
    assert not state_of().has_thresholds("x")
    assert (state_of().thresholds_of("x").critical, state_of().policy_of("x").store_text) == (20, "masked")


def test_thresholds_that_only_say_how_many_requests_leave_the_scores() -> None:
    """To those of all, else of the installation; what named them, or is from before
    that could be told, keeps them.
    """
    requests = {"requests_per_hour": (100, 50, 10), "version": 1}
    state = state_of(ThresholdsChanged.model_validate({"tenant": "acme", **requests}))
    assert not state.has_thresholds("acme")
    assert state.requests_per_hour_of("acme") == (100, 50, 10)
    everybodys = ThresholdsChanged(tenant=EVERYBODY, low=4, version=1)
    state = state_of(everybodys, ThresholdsChanged.model_validate({"tenant": "acme", **requests}))
    assert (state.has_thresholds("acme"), state.thresholds_of("acme").low) == (True, 4)
    old = ThresholdsChanged().model_dump(mode="json", exclude={"scores_named"})
    state = state_of(everybodys, ThresholdsChanged.model_validate({**old, "tenant": "acme", **requests}))
    assert state.thresholds_of("acme").low == 3
