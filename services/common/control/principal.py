"""Who makes a call, however that was shown. Pure."""

from dataclasses import dataclass, replace

from schemas.control import KeyChanged, Limits, Scope
from services.common.identity import pseudonym, pseudonym_of_named


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller who was let in, and what it may do.

    `key_id` is empty for the bearer of an identity provider's token. `models` empty
    means all. `limits` are the key's own. `by_token` says that a short token was shown,
    not a key or the session of one.
    """

    tenant: str
    user: str
    key_id: str
    name: str
    scopes: tuple[Scope, ...]
    models: tuple[str, ...] = ()
    limits: Limits | None = None
    by_token: bool = False

    @property
    def is_platform_admin(self) -> bool:
        """Whether it administers all tenants."""
        return Scope.PLATFORM in self.scopes

    @property
    def is_exchanged(self) -> bool:
        """Whether a token was shown that stands for a key."""
        return self.by_token and bool(self.key_id)

    def narrowed_to(self, scopes: tuple[Scope, ...]) -> "Principal":
        """The principal with no other scopes than these."""
        return replace(self, scopes=tuple(scope for scope in self.scopes if scope in scopes))


def principal_of(key: KeyChanged) -> Principal:
    """The principal that a key stands for."""
    return Principal(
        tenant=key.tenant,
        user=key.user,
        key_id=key.key_id,
        name=key.name,
        scopes=key.scopes,
        models=key.models,
        limits=key.limits,
    )


def user_of(principal: Principal, named: str | None, *, pseudonym_key: str) -> str:
    """Whose a request or a rating is, as a pseudonym; empty where nobody is known.

    It is the caller's own user, whomever the body names. Whom the body of a caller
    without a user names is told apart from all users who call: otherwise any such key
    could spend another's budget and tighten another's limits.
    """
    if principal.user:
        return pseudonym(pseudonym_key, tenant=principal.tenant, user=principal.user)
    return pseudonym_of_named(pseudonym_key, tenant=principal.tenant, user=named or "")
