"""Digests of idempotency keys, and answers sealed with them."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.limits import MARGIN_BYTES, MAX_RECORD_BYTES
from services.common.requests import sealing

_MAX_SEALED_BYTES = (MAX_RECORD_BYTES - MARGIN_BYTES) * 3 // 4


def who_may_repeat(tenant: str, *, key_id: str, user: str) -> tuple[str, str]:
    """The tenant and its API key, or its user where there is none: a user who is called
    like a key is somebody else.
    """
    return tenant, f"key:{key_id}" if key_id else f"user:{user}"


@dataclass(frozen=True, slots=True)
class Asked:
    """One call with an idempotency key. `caller` is who may use the key again, by
    `who_may_repeat`. `body` is what was asked, in one canonical form.
    """

    caller: tuple[str, str]
    key: str
    body: bytes

    def digest(self, pepper: bytes) -> str:
        """Stands for caller and key."""
        return _mac(pepper, b"key", self._caller_bytes(), self.key.encode()).hexdigest()

    def body_digest(self, pepper: bytes) -> str:
        """Stands for what was asked."""
        return _mac(pepper, b"body", self.body).hexdigest()

    def seal(self, pepper: bytes, answer_id: str, plain: bytes) -> str | None:
        """An answer that only the same call opens; None where it is too large."""
        if len(plain) > sealing.MAX_PLAIN_BYTES:
            return None
        sealed = sealing.seal(plain, self._secret(pepper), answer_id.encode())
        return None if len(sealed) > _MAX_SEALED_BYTES else base64.b64encode(sealed).decode()

    def open(self, pepper: bytes, answer_id: str, sealed: str) -> bytes | None:
        """The answer; None where it was sealed by another call, or is damaged."""
        try:
            raw = base64.b64decode(sealed, validate=True)
        except ValueError:
            return None
        return sealing.unseal(raw, self._secret(pepper), answer_id.encode())

    def _secret(self, pepper: bytes) -> bytes:
        material = _mac(self.key.encode(), b"answer", self._caller_bytes(), self.body).digest()
        return HKDF(algorithm=SHA256(), length=32, salt=pepper, info=b"tocsin idempotent answer").derive(
            material
        )

    def _caller_bytes(self) -> bytes:
        return "\0".join(self.caller).encode()


def _mac(secret: bytes, *parts: bytes) -> "hmac.HMAC":
    mac = hmac.new(secret or b"\0", digestmod=hashlib.sha256)
    for part in parts:
        mac.update(len(part).to_bytes(8, "big") + part)
    return mac
