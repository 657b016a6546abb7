"""The rules themselves, against every change that anybody may think of."""

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.control import (
    AnyEntry,
    BudgetChanged,
    KeyChanged,
    Limits,
    ModelChanged,
    PolicyChanged,
    RouteChanged,
    RouteTarget,
    Scope,
    Subject,
    TenantChanged,
    ThresholdsChanged,
    UserChanged,
)
from services.common.control import changes
from services.common.control.changes import Change, Plan
from services.common.control.errors import ChangeRefusedError
from services.common.control.principal import Principal, principal_of
from services.common.control.state import KINDS, ControlState
from services.common.http.problems import ProblemError
from services.console.administration.authorisation import TENANT_ADMIN, Verb, guarded, require_still_good
from tests.unit.common.control.entries import NOW, after, signed_key, state_of, tenant

TENANTS = ("acme", "globex", "*", "default")
MINE = (Scope.READ, Scope.ADMIN)
_, ATTACKER = signed_key(tenant="acme", scopes=MINE, models=("small",))
_, PLATFORM = signed_key(tenant="acme", scopes=tuple(Scope), user="root")
_, FOREIGN = signed_key(tenant="globex", scopes=(Scope.READ,), models=("small",))
_, WIDER = signed_key(tenant="acme", scopes=(Scope.INFER,))
_, EQUAL = signed_key(tenant="acme", scopes=(Scope.READ,), models=("small",))
KEYS = (ATTACKER, PLATFORM, FOREIGN, WIDER, EQUAL)


def _budget(owner: str, kind: Any, subject: str) -> BudgetChanged:
    return BudgetChanged(
        budget_id=f"{owner}-{kind}",
        tenant=owner,
        subject=Subject(kind=kind, id=subject),
        period="day",
        limit_usd=Decimal(1),
        created_at=NOW,
        version=1,
    )


def _entries() -> list[AnyEntry]:
    targets = (RouteTarget(model="small"),)
    found: list[AnyEntry] = [*KEYS, ModelChanged(model="small", version=1)]
    for owner in ("acme", "globex"):
        found += [
            tenant(owner, limits=Limits(requests_per_minute=1), share=1.0),
            UserChanged(tenant=owner, user="ann", scopes=(Scope.READ,), created_at=NOW, version=1),
            UserChanged(tenant=owner, user="root", scopes=(Scope.READ,), created_at=NOW, version=1),
            _budget(owner, "tenant", owner),
            _budget(owner, "model", "small"),
            _budget(owner, "user", f"{owner}/ann"),
        ]
    for owner in ("acme", "globex", "*"):
        found += [
            RouteChanged(tenant=owner, route="r", targets=targets, version=1),
            ThresholdsChanged(tenant=owner, version=1),
            PolicyChanged(tenant=owner, version=1),
        ]
    return found


BEGAN = state_of(*_entries())
SCOPES = st.lists(st.sampled_from(Scope), unique=True, max_size=5).map(tuple)
MODELS = st.lists(st.sampled_from(("small", "large")), unique=True, max_size=2).map(tuple)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(("a", "b")),
        "scopes": SCOPES,
        "models": MODELS,
        "limits": st.sampled_from((None, {"requests_per_minute": 9})),
        "share": st.just(9.0),
        "suspended_at": st.sampled_from((None, NOW)),
        "tenant": st.sampled_from(TENANTS),
        "user": st.just("root"),
        "limit_usd": st.just(Decimal(99)),
        "subject": st.sampled_from(
            ({"kind": "tenant", "id": "acme"}, {"kind": "key", "id": PLATFORM.key_id})
        ),
        "targets": st.sampled_from(([{"model": "small"}], [{"model": "large"}])),
        "critical": st.just(99.0),
        "store_text": st.just("raw"),
        "enabled": st.just(False),
        "expires_at": st.sampled_from((None, NOW + timedelta(days=1))),
        "secret_hmac": st.just("0" * 64),
        "version": st.just(99),
    },
)


@st.composite
def _asked(draw: st.DrawFn) -> tuple[Verb, str, str | None, Change]:
    """Any change of anything, made well or badly."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    entry_id = draw(st.sampled_from(sorted(BEGAN.entries(kind))))
    by_id: dict[Verb, Callable[[], Change]] = {
        Verb.CHANGE: lambda: changes.edit(kind, entry_id, draw(FIELDS)),
        Verb.DELETE: lambda: changes.delete(kind, entry_id),
        Verb.RESTORE: lambda: changes.restore(kind, entry_id),
        Verb.PURGE: lambda: changes.purge(kind, entry_id),
        Verb.REVOKE: lambda: changes.revoke_key(draw(st.sampled_from(KEYS)).key_id),
        Verb.ROTATE: lambda: changes.rotate_key(draw(st.sampled_from(KEYS)).key_id, "1" * 64),
    }
    verb = draw(st.sampled_from([*by_id, Verb.CREATE]))
    if verb is not Verb.CREATE:
        return verb, kind, entry_id, by_id[verb]()
    model = draw(st.sampled_from(_entries()))
    known = {name: value for name, value in draw(FIELDS).items() if name in type(model).model_fields}
    new = {"key_id": "newkey01", "budget_id": "new", "route": "new"} if draw(st.booleans()) else {}
    return verb, model.kind, None, _made({**model.model_dump(), **known, **new}, type(model))


def _made(fields: dict[str, Any], kind: type[AnyEntry]) -> Change:
    """Making this, which may not be a valid entry at all."""

    def decide(state: ControlState, now: datetime) -> Plan:
        return changes.create(kind.model_validate(fields))(state, now)

    return decide


@settings(max_examples=150, deadline=None)
@given(st.lists(_asked(), max_size=6))
def test_tenants_administrator_stays_within_his_tenant_and_his_rights(
    asked: list[tuple[Verb, str, str | None, Change]],
) -> None:
    """Whatever they try, in whatever order: others' entries, the platform's, and their
    tenant's bounds are as they were, and nobody holds rights that they lack and did not
    hold before.
    """
    state = BEGAN
    for verb, kind, entry_id, change in asked:
        with contextlib.suppress(ChangeRefusedError, ProblemError, ValueError):
            state = after(state, guarded(principal_of(ATTACKER), kind, verb, entry_id, change))
    for kind in KINDS:
        assert _beyond(state, kind) == _beyond(BEGAN, kind)
    acme, before = state.tenants["acme"], BEGAN.tenants["acme"]
    assert acme.model_dump(exclude={"name", "version"}) == before.model_dump(exclude={"name", "version"})
    assert state.keys.get(PLATFORM.key_id) == PLATFORM
    assert state.users.get("acme/root") == BEGAN.users["acme/root"]
    for key in state.keys.values():
        had = BEGAN.keys.get(key.key_id)
        assert set(key.scopes) <= {*MINE, *(had.scopes if had else ())}
        assert key.models in (("small",), had.models if had else ("small",))
        if had is not None and had.secret_hmac != key.secret_hmac:
            assert set(had.scopes) <= set(MINE)


def _beyond(state: ControlState, kind: str) -> dict[str, AnyEntry]:
    """What a tenant's administrator of acme cannot touch, of a kind."""
    own = {"acme"} if TENANT_ADMIN[kind].verbs else set()
    return {
        entry_id: entry
        for entry_id, entry in state.entries(kind).items()
        if getattr(entry, "tenant", "") not in own
        or isinstance(entry, ThresholdsChanged)
        or (isinstance(entry, BudgetChanged) and entry.subject.kind not in ("key", "user"))
    }


def test_every_kind_has_its_rights() -> None:
    """A new kind is decided on, not forgotten."""
    assert set(TENANT_ADMIN) == set(KINDS)
    assert not any(Verb.PURGE in rights.verbs for rights in TENANT_ADMIN.values())
    assert isinstance(BEGAN.tenants["acme"], TenantChanged)
    assert isinstance(BEGAN.keys[ATTACKER.key_id], KeyChanged)


ADMIN = (Scope.READ, Scope.ADMIN)
ROOT = (*ADMIN, Scope.PLATFORM)


def _by_token(*scopes: Scope) -> Principal:
    """Whom an identity provider's token shows to be jo of acme."""
    return Principal(tenant="acme", user="jo", key_id="", name="jo", scopes=scopes)


def _jo(*scopes: Scope) -> UserChanged:
    return UserChanged(tenant="acme", user="jo", scopes=scopes, created_at=NOW, version=1)


@pytest.mark.parametrize(
    ("entries", "asked_with", "passes"),
    [
        ((_jo(*ADMIN),), ADMIN, True),
        ((_jo(*ROOT),), ADMIN, True),
        ((_jo(Scope.READ),), ADMIN, False),
        ((_jo(),), (Scope.READ,), False),
        ((_jo(*ADMIN),), ROOT, False),
        ((), ADMIN, False),
        ((), (Scope.READ, Scope.PLATFORM), False),
        ((), (Scope.INFER, Scope.READ), True),
        ((UserChanged(tenant="globex", user="jo", scopes=ROOT, created_at=NOW, version=1),), ADMIN, False),
    ],
)
def test_administrator_by_token_needs_what_the_users_entry_allows_when_the_change_is_made(
    entries: tuple[AnyEntry, ...], asked_with: tuple[Scope, ...], *, passes: bool
) -> None:
    """Taken away, or purged, while the change waited for its turn: it is not made."""
    state = state_of(tenant("acme"), *entries)
    change = guarded(
        _by_token(*asked_with),
        "user",
        Verb.CREATE,
        None,
        changes.create(_jo().model_copy(update={"user": "x"})),
    )
    if passes:
        require_still_good(_by_token(*asked_with), state, NOW)
        return
    with pytest.raises(ProblemError) as refused:
        change(state, NOW)
    assert refused.value.problem.status == 403


@pytest.mark.parametrize(
    ("had", "has", "passes"),
    [
        ((), (), True),
        (("small",), (), True),
        (("small",), ("small", "large"), True),
        ((), ("small",), False),
        (("small", "large"), ("small",), False),
    ],
)
def test_key_that_lost_models_gives_them_to_nobody_any_more(
    had: tuple[str, ...], has: tuple[str, ...], *, passes: bool
) -> None:
    """While its change waited, as with scopes."""
    _, key = signed_key(scopes=MINE, models=had)
    narrowed = key.model_copy(update={"models": has, "version": 2})
    state = state_of(tenant("acme"), ModelChanged(model="small", version=1), narrowed)
    if passes:
        require_still_good(principal_of(key), state, NOW)
        return
    with pytest.raises(ProblemError) as refused:
        require_still_good(principal_of(key), state, NOW)
    assert refused.value.problem.status == 403
