"""Short tokens that stand for an API key. Pure: time and randomness are arguments.

A token is signed under a key derived from the pepper and names the API key and a mark
of the secret that it came from: it ends with the key, its tenant, its user or that
secret, wherever the control state says so, and never gives more than the key does at
the time.
"""

import hmac
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from joserfc.jwk import OctKey
from joserfc.jws import serialize_compact

from schemas.control import KeyChanged, Scope
from services.common.control.access.signatures import Expected, VerifyingKey, verified_claims
from services.common.control.authentication import Refusal

ISSUER = "tocsin"
AUDIENCE = "tocsin:exchanged"
TYPE = "tocsin+jwt"
LONGEST_S = 3600
_KEY_ID = re.compile(r"[0-9a-z]{8}", re.ASCII)
_CLOCKS_DIFFER_S = 60


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What a token says: for which key, from which of its secrets, what, until when."""

    key_id: str
    mark: str
    scopes: frozenset[Scope]
    until: datetime


@dataclass(frozen=True)
class TokenExchange:
    """Makes and reads these tokens under one pepper."""

    pepper: str = field(repr=False)
    _key: VerifyingKey = field(init=False, repr=False)
    _expected: Expected = field(
        default=Expected(ISSUER, (AUDIENCE,), _CLOCKS_DIFFER_S, LONGEST_S), init=False, repr=False
    )

    def __post_init__(self) -> None:
        secret = hmac.digest(self.pepper.encode(), b"tocsin exchanged tokens 1", "sha256")
        object.__setattr__(self, "_key", VerifyingKey("HS256", OctKey.import_key(secret)))

    def token(
        self,
        key: KeyChanged,
        secret_hmac: str,
        scopes: Collection[Scope],
        *,
        now_s: int,
        until_s: int,
        jti: str,
    ) -> str:
        """A token for a key whose secret was shown; `secret_hmac` is that secret's."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": key.key_id,
            "sec": self.mark(secret_hmac),
            "scope": " ".join(sorted(scopes)),
            "iat": now_s,
            "exp": until_s,
            "jti": jti,
        }
        return serialize_compact(
            {"alg": "HS256", "typ": TYPE}, json.dumps(claims), self._key.key, algorithms=["HS256"]
        )

    def read(self, token: str, *, now_s: float) -> Exchanged | Refusal:
        """What a token says, if it was made here and is not over."""
        claims = verified_claims(token, lambda _: self._key, self._expected, now_s=now_s)
        return claims if isinstance(claims, Refusal) else _exchanged(claims)

    def secret_until(self, key: KeyChanged, mark: str) -> datetime | None:
        """Until when the secret of this mark opens a key, as far as rotations decide
        that; None where it does no more.
        """
        if hmac.compare_digest(mark, self.mark(key.secret_hmac)):
            return datetime.max.replace(tzinfo=UTC)
        if key.previous_secret_hmac and hmac.compare_digest(mark, self.mark(key.previous_secret_hmac)):
            return key.previous_secret_until
        return None

    def mark(self, secret_hmac: str) -> str:
        """What tells a key's secrets apart, and nothing else."""
        derived = hmac.digest(self.pepper.encode(), b"tocsin exchanged secrets 1", "sha256")
        return hmac.digest(derived, secret_hmac.encode(), "sha256").hex()[:32]


def _exchanged(claims: Mapping[str, Any]) -> Exchanged | Refusal:
    key_id, mark, scope = claims.get("sub"), claims.get("sec"), claims.get("scope")
    if not (isinstance(key_id, str) and isinstance(mark, str) and isinstance(scope, str)):
        return Refusal.CLAIMS
    known = {one.value: one for one in Scope}
    scopes = frozenset(known[name] for name in scope.split() if name in known)
    if not (_KEY_ID.fullmatch(key_id) and mark.isascii()):
        return Refusal.CLAIMS
    return Exchanged(key_id, mark, scopes, datetime.fromtimestamp(claims["exp"], UTC))
