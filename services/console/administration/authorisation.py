"""Who may see and change which entries: one table, and the rules that no table tells.
Pure.

A platform administrator (scopes `admin` and `platform`) may do everything everywhere; a
tenant's administrator (`admin` alone) what `TENANT_ADMIN` says, in their own tenant only.
What lies outside it is not there for them: 404, never 403, so that no name leaks. What
that table forbids is 403, whatever the id. Nobody grants more than they have.

Rights are decided on the state that the change is decided on: between the request and
its turn another administrator may have taken them away.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from schemas.control import AnyEntry, BudgetChanged, KeyChanged, RouteChanged, Scope, UserChanged
from schemas.errors import ErrorCode
from services.common.control.changes import Change, Plan
from services.common.control.principal import Principal
from services.common.control.state import ControlState
from services.common.http.problems import Problem, ProblemError, forbidden, malformed, unauthenticated
from services.common.identity import is_tenant_id

MOST_OF_A_KIND = 10_000
"""So many entries of a kind a tenant's administrator brings their tenant to."""


class Verb(StrEnum):
    """What is done to an entry."""

    READ = "read"
    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    RESTORE = "restore"
    ROTATE = "rotate"
    REVOKE = "revoke"
    PURGE = "purge"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a tenant's administrator may do with a kind of entry.

    `fields` are those that they may change, where not all; `subjects` the kinds of
    subjects that their budgets may have.
    """

    verbs: frozenset[Verb] = frozenset()
    fields: frozenset[str] | None = None
    subjects: frozenset[str] = field(default=frozenset())


_KEEPS = frozenset(Verb) - {Verb.PURGE}
TENANT_ADMIN: Mapping[str, Rights] = {
    # Limits, share and suspension of a tenant are set by the platform.
    "tenant": Rights(frozenset({Verb.READ, Verb.CHANGE}), fields=frozenset({"name"})),
    "user": Rights(_KEEPS),
    "key": Rights(_KEEPS),
    # Dividing up among its keys and users what it has is the tenant's own matter; how
    # much it has, in all and of a model, the platform's.
    "budget": Rights(_KEEPS, subjects=frozenset({"key", "user"})),
    "model": Rights(),
    "route": Rights(_KEEPS),
    # They decide how much a user may ask for: limits, which the platform sets.
    "thresholds": Rights(frozenset({Verb.READ})),
    "policy": Rights(_KEEPS),
}
"""Each kind of entry with a tenant administrator's rights in their own tenant. `purge`
leaves no trace but the audit's, so only the platform does it.
"""


_TAKES_ONLY = frozenset(
    (kind, verb) for kind in ("key", "user") for verb in (Verb.READ, Verb.DELETE, Verb.REVOKE)
)
"""What a token that stands for a key may do. All else outlives it: a secret, a right, or
a budget, policy or limit that is another or gone.
"""


def require_verb(principal: Principal, kind: str, verb: Verb) -> None:
    """Passes where a caller may do this with some entries of a kind.

    Raises:
        ProblemError: 403.
    """
    if not principal.is_platform_admin and verb not in TENANT_ADMIN[kind].verbs:
        raise _platform_only(f"to {verb} {kind} entries")


def may_see(principal: Principal, entry: AnyEntry) -> bool:
    """Whether an entry is there for a caller."""
    return principal.is_platform_admin or getattr(entry, "tenant", "") == principal.tenant


def tenant_for(principal: Principal, named: str | None) -> str:
    """Whose a new entry shall be.

    Raises:
        ProblemError: 404, it is another's; 400, a platform administrator named none.
    """
    if principal.is_platform_admin:
        if named is None:
            raise malformed(
                "tenant: say whose it shall be; your key administers all tenants.",
                "tenant",
                ErrorCode.MISSING_PARAMETER,
            )
        return named
    if named not in (None, principal.tenant):
        raise not_found(f"there is no tenant {named!r}", "tenant")
    return principal.tenant


def tenant_asked(principal: Principal, named: str) -> str:
    """Whose figures or findings are told; empty for all tenants'.

    Raises:
        ProblemError: 403, another tenant's; 400, no tenant can be called so.
    """
    if named == principal.tenant:
        return named
    if principal.is_platform_admin:
        if named and not is_tenant_id(named):
            raise malformed(
                f"tenant: {named!r} is no tenant's id; use lower-case letters, digits, dots, hyphens and "
                "underscores.",
                "tenant",
            )
        return named
    if named:
        raise forbidden(f"This key sees what is of the tenant {principal.tenant!r} only; leave `tenant` out.")
    return principal.tenant


def guarded(principal: Principal, kind: str, verb: Verb, entry_id: str | None, change: Change) -> Change:
    """A change that is made only if its caller may make it. `entry_id` is that of an
    entry which must be there, None for a new one.
    """

    def decide(state: ControlState, now: datetime) -> Plan:
        require_still_good(principal, state, now)
        require_verb(principal, kind, verb)
        if principal.is_exchanged and (kind, verb) not in _TAKES_ONLY:
            require_lasting(principal)
        if entry_id is not None:
            known = state.get(kind, entry_id)
            if known is None or not may_see(principal, known):
                raise not_found(f"there is no {kind} {entry_id!r}")
        plan = change(state, now)
        _require_allowed(principal, state, verb, plan)
        if verb is Verb.CREATE and not principal.is_platform_admin:
            _require_room(principal, state, kind)
        return plan

    return decide


def require_within_rights(principal: Principal, key: KeyChanged) -> None:
    """Passes where a key can no more than its caller: who gets its secret gets its
    rights.

    Raises:
        ProblemError: 403.
    """
    _require_grantable(principal, key.scopes, (), "scopes")
    _require_models(principal, key.models)


def require_still_good(principal: Principal, state: ControlState, now: datetime) -> None:
    """Passes where a caller may still do what they might when they asked: their key, or
    their user's entry where a token shows who they are, may have lost rights while the
    change waited.

    Raises:
        ProblemError: 401 or 403.
    """
    key = state.keys.get(principal.key_id)
    if principal.key_id and (key is None or not _is_good(key, now)):
        raise unauthenticated("The API key was revoked or has expired.")
    if not state.is_open(principal.tenant, principal.user):
        raise unauthenticated("The API key's tenant or user was suspended or deleted.")
    if not _scopes_now(principal, state) >= set(principal.scopes):
        raise forbidden("You have lost scopes since this was asked for. Ask again.")
    if key is not None and not _may_use_all(key.models, principal.models):
        raise forbidden("The API key has lost models since this was asked for. Ask again.")


def _scopes_now(principal: Principal, state: ControlState) -> set[Scope]:
    """What a caller may have at most now. Nobody administers by a token whom no entry
    allows it.
    """
    if principal.key_id:
        return set(state.keys[principal.key_id].scopes)
    known = state.users.get(f"{principal.tenant}/{principal.user}")
    return set(Scope) - {Scope.ADMIN, Scope.PLATFORM} if known is None else set(known.scopes)


def _may_use_all(models: Collection[str], wanted: Collection[str]) -> bool:
    """Whether who may use `models` may use all these; none named are all there are."""
    return not models or (bool(wanted) and set(wanted) <= set(models))


def require_lasting(principal: Principal) -> None:
    """Passes where a caller has shown what lasts, a key or the session of one: who finds
    a short token must not make what outlives it.

    Raises:
        ProblemError: 403.
    """
    if principal.by_token:
        raise forbidden(
            "A token makes no change that would outlive it; it may revoke and delete keys and users. Call "
            "with the API key itself, or in a session."
        )


def not_found(message: str, param: str | None = None) -> ProblemError:
    """404, the same for what is not there and for what is another's."""
    return ProblemError(Problem(404, ErrorCode.NOT_FOUND, f"{message[:1].upper()}{message[1:]}.", param))


def _is_good(key: KeyChanged, now: datetime) -> bool:
    ended = any(at is not None and at <= now for at in (key.revoked_at, key.expires_at))
    return not ended and key.deleted_at is None


def _require_allowed(principal: Principal, state: ControlState, verb: Verb, plan: Plan) -> None:
    """Judges what a change would come to, whichever way it was asked for."""
    entries = [one for one in (plan.before, plan.after) if one is not None]
    if not principal.is_platform_admin:
        for entry in entries:
            if not may_see(principal, entry):
                raise not_found(f"there is no {plan.kind} {plan.entry_id!r}")
            _require_not_platforms(state, entry)
        _require_fields(principal, plan)
        _require_subjects(plan.kind, entries)
    if verb in (Verb.CREATE, Verb.CHANGE, Verb.RESTORE, Verb.ROTATE):
        _require_no_more_rights(principal, verb, plan)


def _require_room(principal: Principal, state: ControlState, kind: str) -> None:
    """Every process holds every entry, so no tenant makes them without end; deleted ones
    count.
    """
    held = sum(may_see(principal, entry) for entry in state.entries(kind).values())
    if held >= MOST_OF_A_KIND:
        raise ProblemError(
            Problem(
                409,
                ErrorCode.CONFLICT,
                f"The tenant {principal.tenant!r} has {held} {kind} entries, deleted ones included. A "
                "platform administrator can purge some, or make more.",
            )
        )


def _require_fields(principal: Principal, plan: Plan) -> None:
    allowed = TENANT_ADMIN[plan.kind].fields
    if allowed is None or plan.before is None or plan.after is None:
        return
    before, after = plan.before.model_dump(), plan.after.model_dump()
    changed = {name for name in after if after[name] != before.get(name)} - {"version"}
    for name in sorted(changed - allowed):
        raise _platform_only(f"to change {name} of {principal.tenant!r}", name)


def _require_subjects(kind: str, entries: Iterable[AnyEntry]) -> None:
    for entry in entries:
        if isinstance(entry, BudgetChanged) and entry.subject.kind not in TENANT_ADMIN[kind].subjects:
            raise _platform_only(f"to set budgets of a {entry.subject.kind}", "subject.kind")


def _require_not_platforms(state: ControlState, entry: AnyEntry) -> None:
    """A platform administrator's key or user may live in any tenant; its administrator
    shall not shut the platform out, nor act as that user: a key of theirs uses their
    limits, budgets and hourly requests.
    """
    user, key_id = _uses(entry)
    known_user, known_key = state.users.get(user), state.keys.get(key_id)
    scopes: set[Scope] = {
        *(known_user.scopes if known_user else ()),
        *(known_key.scopes if known_key else ()),
    }
    if user:
        keys = (key for key in state.keys.values() if f"{key.tenant}/{key.user}" == user)
        scopes.update(scope for key in keys for scope in key.scopes)
    if Scope.PLATFORM in scopes:
        raise _platform_only("to change what a platform administrator uses")


def _uses(entry: AnyEntry) -> tuple[str, str]:
    """The ids of the user and of the key that an entry is, belongs to or bounds; each
    empty where there is none.
    """
    if isinstance(entry, UserChanged):
        return entry.entry_id, ""
    if isinstance(entry, KeyChanged):
        return f"{entry.tenant}/{entry.user}" if entry.user else "", entry.entry_id
    if isinstance(entry, BudgetChanged) and entry.subject.kind == "user":
        return entry.subject.id, ""
    if isinstance(entry, BudgetChanged) and entry.subject.kind == "key":
        return "", entry.subject.id
    return "", ""


def _require_no_more_rights(principal: Principal, verb: Verb, plan: Plan) -> None:
    entry = plan.after
    # Who restores a key or learns its new secret gives all of its rights anew.
    before = plan.before if verb is Verb.CHANGE else None
    if isinstance(entry, KeyChanged | UserChanged):
        had = before.scopes if isinstance(before, KeyChanged | UserChanged) else ()
        _require_grantable(principal, entry.scopes, had, "scopes")
    if isinstance(entry, KeyChanged) and not (
        isinstance(before, KeyChanged) and before.models == entry.models
    ):
        _require_models(principal, entry.models)
    if isinstance(entry, RouteChanged) and not principal.is_platform_admin:
        _require_models(principal, [*(one.model for one in entry.targets), *entry.fallbacks], "targets")


def _require_grantable(
    principal: Principal, scopes: Collection[Scope], had: Collection[Scope], param: str
) -> None:
    more = [scope for scope in scopes if scope not in principal.scopes and scope not in had]
    if more:
        raise ProblemError(
            Problem(
                403,
                ErrorCode.INSUFFICIENT_PERMISSIONS,
                f"You cannot give the scope {', '.join(more)}: your own key lacks it.",
                param,
            )
        )


def _require_models(principal: Principal, models: Collection[str], param: str = "models") -> None:
    if not principal.models:
        return
    more = [one for one in models if one not in principal.models]
    if more or not models:
        raise ProblemError(
            Problem(
                403,
                ErrorCode.INSUFFICIENT_PERMISSIONS,
                f"You cannot give the use of {', '.join(more) or 'all models'}: your own key may use "
                f"{', '.join(principal.models)} only.",
                param,
            )
        )


def _platform_only(what: str, param: str | None = None) -> ProblemError:
    message = f"Only a platform administrator (a key with the scopes admin and platform) may do this: {what}."
    return ProblemError(Problem(403, ErrorCode.INSUFFICIENT_PERMISSIONS, message, param))
