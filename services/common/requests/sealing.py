"""Bytes that lie on the bus, and only who has a secret reads: AES-256-GCM. Pure, but for
the nonce.
"""

import os

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAX_PLAIN_BYTES = 16 * 1024 * 1024
"""No more is ever unpacked."""
_NONCE_BYTES = 12


def seal(plain: bytes, secret: bytes, bound_to: bytes) -> bytes:
    """Packed and sealed with a secret of 32 bytes, of use together with `bound_to` only."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(secret).encrypt(nonce, zstandard.compress(plain), bound_to)


def unseal(sealed: bytes, secret: bytes, bound_to: bytes) -> bytes | None:
    """What was sealed; None where it was with another secret, or bound to something else,
    or is damaged.
    """
    try:
        packed = AESGCM(secret).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)
        return zstandard.decompress(packed, max_output_size=MAX_PLAIN_BYTES)
    except (InvalidTag, ValueError, zstandard.ZstdError):
        return None
