"""An identity provider: keys of each kind, and tokens that it signs."""

import base64
import functools
import json
from collections.abc import Mapping
from typing import Any

from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

ISSUER = "https://issuer.example/realms/acme"
AUDIENCE = "tocsin"
SECRET = b"thirty-two bytes of a secret, ok."
_NATIVE = {"EdDSA": "Ed25519"}


@functools.cache
def private_key(algorithm: str, number: int = 0) -> Key:
    """The issuer's key for an algorithm; another one for each number."""
    if algorithm == "HS256":
        return OctKey.import_key(SECRET + str(number or "").encode())
    if algorithm == "RS256":
        return RSAKey.generate_key(2048, {"kid": f"rsa-{number}"})
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", {"kid": f"ec-{number}"})
    return OKPKey.generate_key("Ed25519", {"kid": f"okp-{number}"})


def jwk(algorithm: str, number: int = 0) -> dict[str, Any]:
    """A key's public half, as the issuer publishes it."""
    return {**private_key(algorithm, number).as_dict(private=False), "use": "sig", "alg": algorithm}


def claims(now_s: float, **more: Any) -> dict[str, Any]:
    """What the issuer says of jo of acme; None leaves a claim out."""
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "jo",
        "tenant": "acme",
        "scope": "infer read",
        "iat": int(now_s),
        "exp": int(now_s) + 300,
    } | more
    return {name: value for name, value in said.items() if value is not None}


def sign(
    said: Mapping[str, Any] | bytes,
    algorithm: str = "RS256",
    *,
    number: int = 0,
    key: Key | None = None,
    header: Mapping[str, Any] | None = None,
) -> str:
    """A token. `header` changes what its header says; None leaves a member out."""
    key = key or private_key(algorithm, number)
    head = {"alg": algorithm, "typ": "JWT", "kid": key.get("kid")} | dict(header or {})
    payload = said if isinstance(said, bytes) else json.dumps(said).encode()
    head_json = json.dumps({name: value for name, value in head.items() if value is not None})
    signing = f"{_base64url(head_json.encode())}.{_base64url(payload)}"
    signature = JWSRegistry.algorithms[_NATIVE.get(algorithm, algorithm)].sign(signing.encode(), key)
    return f"{signing}.{_base64url(signature)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
