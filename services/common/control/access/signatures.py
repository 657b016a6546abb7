"""Signatures of JSON web tokens, by joserfc. Pure: time and keys are arguments.

The algorithm is the configuration's, by the kind of key: the token's header must name
the same, and decides nothing. So neither `none` nor an HMAC under a public key opens
anything.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc.errors import ClaimError, ExpiredTokenError, JoseError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import CompactSignature, JWSRegistry, extract_compact, validate_compact
from joserfc.jwt import JWTClaimsRegistry

from services.common.control.authentication import Refusal

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
SECRET_BYTES = 32
"""A shared secret has at least so many (RFC 7518, section 3.2)."""
_MAX_TOKEN_CHARS = 16 * 1024
_RSA_BITS = 2048
_NATIVE = {"HS256": "HS256", "RS256": "RS256", "ES256": "ES256", "EdDSA": "Ed25519"}
"""joserfc's names; it warns of `EdDSA`, which RFC 9864 calls Ed25519, and issuers do not
yet.
"""
_MEMBERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_BY_KIND = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}
_CLAIM_REFUSALS = {
    "aud": Refusal.AUDIENCE,
    "iss": Refusal.ISSUER,
    "nbf": Refusal.TOKEN_NOT_YET_VALID,
    "iat": Refusal.TOKEN_NOT_YET_VALID,
}


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key with the one algorithm that it is used for."""

    algorithm: str
    key: Key = field(repr=False)


FindKey = Callable[[str | None], "VerifyingKey | Refusal"]
"""The key of a key id; a token may name none."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token's claims must say."""

    issuer: str
    audiences: tuple[str, ...]
    leeway_s: int
    max_lifetime_s: float


def shared_key(secret: bytes) -> VerifyingKey:
    """HS256's key.

    Raises:
        ValueError: it is too short, or a public key.
    """
    if len(secret) < SECRET_BYTES:
        raise ValueError(f"has {len(secret)} bytes; HS256 wants at least {SECRET_BYTES}")
    return VerifyingKey("HS256", OctKey.import_key(secret))


def public_key(jwk: Mapping[str, Any], allowed: tuple[str, ...]) -> VerifyingKey | None:
    """A key of an issuer's set; None where it is not for signatures of an allowed
    algorithm, or is too weak.
    """
    kind = jwk.get("kty")
    algorithm = _BY_KIND.get(kind) if isinstance(kind, str) else None
    if algorithm is None or algorithm not in allowed or not isinstance(kind, str):
        return None
    if jwk.get("use", "sig") != "sig" or jwk.get("alg", algorithm) not in (algorithm, _NATIVE[algorithm]):
        return None
    if kind in _CURVES and jwk.get("crv") != _CURVES[kind]:
        return None
    key = _imported(kind, {"kty": kind, **{name: jwk.get(name) for name in _MEMBERS[kind]}})
    return None if key is None else VerifyingKey(algorithm, key)


def verified_claims(
    token: str, find_key: FindKey, expected: Expected, *, now_s: float
) -> dict[str, Any] | Refusal:
    """What a token says, if its signature and its claims are good now."""
    parsed = _parsed(token)
    if parsed is None:
        return Refusal.INVALID_TOKEN
    key_id = parsed.headers().get("kid")
    if not isinstance(key_id, str | None):
        return Refusal.INVALID_TOKEN
    key = find_key(key_id)
    if isinstance(key, Refusal):
        return key
    if not _is_signed(parsed, key):
        return Refusal.INVALID_TOKEN
    claims = _object(parsed.payload)
    if claims is None:
        return Refusal.INVALID_TOKEN
    return _check_claims(claims, expected, int(now_s)) or claims


def _imported(kind: str, members: dict[str, Any]) -> Key | None:
    try:
        if kind == "RSA":
            rsa = RSAKey.import_key(members)
            return rsa if rsa.public_key.key_size >= _RSA_BITS else None
        made = ECKey.import_key(members) if kind == "EC" else OKPKey.import_key(members)
        made.public_key  # noqa: B018  a point that is not on the curve shows here
    except (JoseError, ValueError, TypeError, KeyError, ArithmeticError):
        return None
    return made


class _Registry(JWSRegistry):
    """joserfc's rules with room for long headers; `EdDSA` is its Ed25519, and anything
    but the algorithms that are allowed is refused.
    """

    max_header_length = _MAX_TOKEN_CHARS

    def __init__(self, *algorithms: str) -> None:
        super().__init__(algorithms=algorithms, strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        """The algorithm of a token's header."""
        return super().get_alg(_NATIVE.get(name, name))


_PARSING = _Registry()
_VERIFYING = {algorithm: _Registry(native) for algorithm, native in _NATIVE.items()}


def _parsed(token: str) -> CompactSignature | None:
    """The parts of a token; None where it has none, or asks for what is not served."""
    if len(token) > _MAX_TOKEN_CHARS or not token.isascii():
        return None
    try:
        parsed = extract_compact(token.encode(), None, _PARSING)
        headers = parsed.headers()
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    unwanted = not isinstance(headers, dict) or "crit" in headers or "b64" in headers
    return None if unwanted else parsed


def _is_signed(parsed: CompactSignature, key: VerifyingKey) -> bool:
    try:
        return validate_compact(parsed, key.key, registry=_VERIFYING[key.algorithm])
    except (JoseError, ValueError, TypeError):
        return False


def _object(payload: bytes) -> dict[str, Any] | None:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _check_claims(claims: dict[str, Any], expected: Expected, now_s: int) -> Refusal | None:
    registry = JWTClaimsRegistry(
        now=now_s,
        leeway=expected.leeway_s,
        iss={"essential": True, "value": expected.issuer},
        aud={"essential": True, "values": list(expected.audiences)},
        exp={"essential": True},
    )
    try:
        registry.validate(claims)
    except ExpiredTokenError:
        return Refusal.TOKEN_EXPIRED
    except ClaimError as error:
        return _CLAIM_REFUSALS.get(error.claim, Refusal.CLAIMS)
    longest = now_s + expected.max_lifetime_s + expected.leeway_s
    return Refusal.TOO_LONG if claims["exp"] > longest else None
