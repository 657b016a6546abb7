"""What an identity provider's claims mean here. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.control import Scope
from services.common.control.authentication import Refusal
from services.common.control.principal import Principal
from services.common.control.state import ControlState
from services.common.identity import is_tenant_id, is_user_id

_MOST_SCOPES = 1000


@dataclass(frozen=True, slots=True)
class ClaimMapping:
    """Which claims tell tenant, user and scopes, and which names stand for scopes.

    `fixed_tenant` makes everybody its. Without `scope_names` scopes go by their own
    names. `unentered_scopes` are all that a user may do whom nobody entered.
    """

    tenant: str
    fixed_tenant: str
    user: str
    scopes: str
    scope_names: Mapping[str, tuple[Scope, ...]] = field(default_factory=dict)
    unentered_scopes: tuple[Scope, ...] = (Scope.INFER, Scope.FEEDBACK)


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who a token says its bearer is, and what it gives."""

    tenant: str
    user: str
    scopes: frozenset[Scope]


def bearer_of(claims: Mapping[str, Any], mapping: ClaimMapping) -> Bearer | Refusal:
    """The bearer that claims tell of."""
    tenant = mapping.fixed_tenant or _one(claim_at(claims, mapping.tenant))
    if tenant is None or not is_tenant_id(tenant):
        return Refusal.TENANT
    user = _one(claim_at(claims, mapping.user))
    if user is None or not is_user_id(user):
        return Refusal.USER
    names = mapping.scope_names or {scope.value: (scope,) for scope in Scope}
    given = _names(claim_at(claims, mapping.scopes))
    scopes = frozenset(scope for name in given for scope in names.get(name, ()))
    return Bearer(tenant, user, scopes)


def principal_of_bearer(bearer: Bearer, state: ControlState, mapping: ClaimMapping) -> Principal:
    """What a bearer may do: what the token gives and the user's entry allows."""
    known = state.users.get(f"{bearer.tenant}/{bearer.user}")
    allowed = mapping.unentered_scopes if known is None else known.scopes
    return Principal(
        tenant=bearer.tenant,
        user=bearer.user,
        key_id="",
        name=bearer.user if known is None else known.name or bearer.user,
        scopes=tuple(scope for scope in Scope if scope in bearer.scopes and scope in allowed),
        by_token=True,
    )


def claim_at(claims: object, path: str) -> Any:
    """The value at a dotted path; None where there is none. A name may itself have dots,
    as `https://acme.example/tenant` has.
    """
    if not isinstance(claims, Mapping):
        return None
    if path in claims:
        return claims[path]
    for at, char in enumerate(path):
        if char == "." and path[:at] in claims:
            found = claim_at(claims[path[:at]], path[at + 1 :])
            if found is not None:
                return found
    return None


def _one(value: object) -> str | None:
    """A text, or the only one of a list."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else None


def _names(value: object) -> Iterable[str]:
    """Names as OAuth has them, separated by spaces, or as a list."""
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list):
        return [one for one in value[:_MOST_SCOPES] if isinstance(one, str)]
    return ()
