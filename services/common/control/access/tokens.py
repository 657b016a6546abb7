"""Whether a bearer token opens anything, by the control state. Pure but for the issuer's
keys, which are asked for.

A known token costs a digest and a few look-ups, as a known key does: its signature is
checked once, for as long as nothing that it was checked against has changed.
"""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from schemas.control import KeyChanged, Scope, UserChanged
from services.common.control.access.claims import Bearer, ClaimMapping, bearer_of, principal_of_bearer
from services.common.control.access.exchange import TokenExchange
from services.common.control.access.signatures import Expected, VerifyingKey, verified_claims
from services.common.control.authentication import Refusal, check_rights
from services.common.control.principal import Principal, principal_of
from services.common.control.state import ControlState
from services.common.identity import is_signed

_CAPACITY = 16_384


class IssuerKeys(Protocol):
    """An issuer's keys as they are known now."""

    @property
    def version(self) -> int:
        """Changes whenever the keys do."""

    def find(self, key_id: str | None) -> VerifyingKey | Refusal:
        """The key of a key id, or of none where there is only one."""

    async def run(self) -> None:
        """Keeps the keys fresh."""


@dataclass(frozen=True)
class Issuer:
    """An identity provider whose tokens are let in."""

    expected: Expected
    mapping: ClaimMapping
    keys: IssuerKeys


class _Known(NamedTuple):
    """A token that was checked: whom it stands for, until when, and against what.

    `key` is None for an issuer's token, `bearer` for an exchanged one.
    """

    principal: Principal
    until: datetime
    key: KeyChanged | None = None
    bearer: Bearer | None = None
    user: UserChanged | None = None
    keys_version: int = 0


@dataclass
class TokenChecker:
    """Checks tokens: those that stand for a key, and those of an issuer, if there is
    one. Remembers whom it has let in, by the token's SHA-256.
    """

    exchange: TokenExchange
    issuer: Issuer | None = None
    capacity: int = _CAPACITY
    _known: dict[bytes, _Known] = field(default_factory=dict, init=False)

    def check(
        self, state: ControlState, token: str, scope: Scope | None, *, now: datetime
    ) -> Principal | Refusal:
        """Whom a token stands for, or why it is not good for `scope`, or for any, now."""
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        known = self._known.get(digest)
        if known is None or not self._holds(known, state):
            checked = self._check_token(state, token, now)
            if isinstance(checked, Refusal):
                self._known.pop(digest, None)
                return checked
            known = checked
            self._remember(digest, known)
        if known.until <= now:
            del self._known[digest]
            return Refusal.TOKEN_EXPIRED
        return _rights(state, known, scope, now) or known.principal

    def _holds(self, known: _Known, state: ControlState) -> bool:
        """Whether the state and the issuer's keys are as they were when it was checked."""
        if known.key is not None:
            return state.keys.get(known.key.key_id) is known.key
        if known.bearer is None or self.issuer is None:
            return False
        user = state.users.get(f"{known.bearer.tenant}/{known.bearer.user}")
        return user is known.user and self.issuer.keys.version == known.keys_version

    def _check_token(self, state: ControlState, token: str, now: datetime) -> _Known | Refusal:
        exchanged = self._check_exchanged(state, token, now)
        if exchanged is not Refusal.INVALID_TOKEN or self.issuer is None:
            return exchanged
        return self._check_issued(self.issuer, state, token, now)

    def _check_exchanged(self, state: ControlState, token: str, now: datetime) -> _Known | Refusal:
        read = self.exchange.read(token, now_s=now.timestamp())
        if isinstance(read, Refusal):
            return read
        key = state.keys.get(read.key_id)
        if key is None:
            return Refusal.KEY_CHANGED
        if not is_signed(key, pepper=self.exchange.pepper):
            return Refusal.UNSIGNED
        secret_until = self.exchange.secret_until(key, read.mark)
        if secret_until is None:
            return Refusal.KEY_CHANGED
        whole = replace(principal_of(key), by_token=True)
        scopes = tuple(scope for scope in whole.scopes if scope in read.scopes)
        return _Known(whole.narrowed_to(scopes), min(read.until, secret_until), key=key)

    @staticmethod
    def _check_issued(issuer: Issuer, state: ControlState, token: str, now: datetime) -> _Known | Refusal:
        claims = verified_claims(token, issuer.keys.find, issuer.expected, now_s=now.timestamp())
        if isinstance(claims, Refusal):
            return claims
        bearer = bearer_of(claims, issuer.mapping)
        if isinstance(bearer, Refusal):
            return bearer
        until = datetime.fromtimestamp(claims["exp"], UTC) + timedelta(seconds=issuer.expected.leeway_s)
        return _Known(
            principal_of_bearer(bearer, state, issuer.mapping),
            until,
            bearer=bearer,
            user=state.users.get(f"{bearer.tenant}/{bearer.user}"),
            keys_version=issuer.keys.version,
        )

    def _remember(self, digest: bytes, known: _Known) -> None:
        """Forgets the oldest where there are too many."""
        if digest not in self._known and len(self._known) >= self.capacity:
            del self._known[next(iter(self._known))]
        self._known[digest] = known


def _rights(state: ControlState, known: _Known, scope: Scope | None, now: datetime) -> Refusal | None:
    if known.key is not None and (refusal := check_rights(state, known.key, scope, now)) is not None:
        return refusal
    if not state.is_open(known.principal.tenant, known.principal.user):
        return Refusal.SUSPENDED
    return None if scope is None or scope in known.principal.scopes else Refusal.SCOPE
