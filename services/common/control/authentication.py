"""Whether an Authorization header opens anything, by the control state.

A known key costs a digest and a few look-ups: checking its secret and its record once
is enough, for as long as the state holds the very same record.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from schemas.control import KeyChanged, Scope
from services.common.control.principal import Principal, principal_of
from services.common.control.state import ControlState
from services.common.identity import is_signed, parse_key, secret_good_until

_CAPACITY = 16_384
_NOBODYS = KeyChanged(
    key_id="", secret_hmac="0" * 64, name="", tenant="", created_at=datetime.fromtimestamp(0, UTC)
)


class Refusal(StrEnum):
    """Why a caller is not let in. The values are labels of `tocsin_auth_refused_total`."""

    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    UNSIGNED = "unsigned"
    REVOKED = "revoked"
    EXPIRED = "expired"
    ROTATED = "rotated"
    SUSPENDED = "suspended"
    SCOPE = "scope"
    INVALID_TOKEN = "invalid_token"  # noqa: S105  no secret
    AUDIENCE = "audience"
    ISSUER = "issuer"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105  no secret
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"  # noqa: S105  no secret
    TOO_LONG = "too_long"
    CLAIMS = "claims"
    TENANT = "tenant"
    USER = "user"
    KEY_CHANGED = "key_changed"
    ISSUER_KEYS = "issuer_keys"


class _Known(NamedTuple):
    """A record that was checked, whom it stands for, and how long the secret is good."""

    record: KeyChanged
    principal: Principal
    secret_until: datetime


@dataclass
class KeyChecker:
    """Checks keys under one pepper. Remembers whom it has let in, by the header's
    SHA-256, never by the key; of strangers it remembers nothing.
    """

    pepper: str
    capacity: int = _CAPACITY
    _known: dict[bytes, _Known] = field(default_factory=dict, init=False)

    def check(
        self, state: ControlState, authorization: str | None, scope: Scope | None, *, now: datetime
    ) -> Principal | Refusal:
        """Whose key a header carries, or why it is not good for `scope`, or for any,
        now.

        Without the secret nobody learns more than `UNKNOWN`.
        """
        digest = hashlib.sha256((authorization or "").encode(errors="replace")).digest()
        known = self._known.get(digest)
        if known is None or state.keys.get(known.record.key_id) is not known.record:
            checked = self._check_secret(state, authorization)
            if isinstance(checked, Refusal):
                self._known.pop(digest, None)
                return checked
            known = checked
            self._remember(digest, known)
        if known.secret_until <= now:
            return Refusal.ROTATED
        return check_rights(state, known.record, scope, now) or known.principal

    def recheck(
        self, state: ControlState, key_id: str, scope: Scope | None, *, now: datetime
    ) -> Principal | Refusal:
        """Whose key this is whose secret was shown earlier, if its record is good for
        `scope`, or for any, still: for sessions.
        """
        key = state.keys.get(key_id)
        if key is None:
            return Refusal.UNKNOWN
        if not is_signed(key, pepper=self.pepper):
            return Refusal.UNSIGNED
        return check_rights(state, key, scope, now) or principal_of(key)

    def _check_secret(self, state: ControlState, authorization: str | None) -> _Known | Refusal:
        scheme, _, clear = (authorization or "").partition(" ")
        sent = parse_key(clear.strip()) if scheme.lower() == "bearer" else None
        if sent is None:
            return Refusal.MALFORMED
        key = state.keys.get(sent.key_id)
        secret_until = secret_good_until(key or _NOBODYS, sent.secret, pepper=self.pepper)
        if key is None or secret_until is None:  # at the same cost, so that no time tells which ids there are
            return Refusal.UNKNOWN
        if not is_signed(key, pepper=self.pepper):
            return Refusal.UNSIGNED
        return _Known(key, principal_of(key), secret_until)

    def _remember(self, digest: bytes, known: _Known) -> None:
        """Forgets the oldest where there are too many."""
        if digest not in self._known and len(self._known) >= self.capacity:
            del self._known[next(iter(self._known))]
        self._known[digest] = known


def check_rights(state: ControlState, key: KeyChanged, scope: Scope | None, now: datetime) -> Refusal | None:
    """Why a signed key is not good for `scope`, or for any, now; None where it is."""
    if key.deleted_at is not None or (key.revoked_at is not None and key.revoked_at <= now):
        return Refusal.REVOKED
    if key.expires_at is not None and key.expires_at <= now:
        return Refusal.EXPIRED
    if not state.is_open(key.tenant, key.user):
        return Refusal.SUSPENDED
    return None if scope is None or scope in key.scopes else Refusal.SCOPE
