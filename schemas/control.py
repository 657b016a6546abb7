"""What an administrator changes, as a compacted topic: the newest record of each id is
the truth, and every gateway holds them all in memory.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from schemas.base import Message


class Scope(StrEnum):
    """What a key may do."""

    INFER = "infer"
    FEEDBACK = "feedback"
    READ = "read"
    ADMIN = "admin"


class KeyChanged(Message):
    """An API key as it now stands.

    Only its HMAC travels, never the key. `models` empty means all; `revoked_at` in the
    past means refused.
    """

    kind: Literal["key"] = "key"
    key_id: str
    secret_hmac: str
    name: str
    tenant: str
    user: str = ""
    scopes: tuple[Scope, ...] = (Scope.INFER, Scope.FEEDBACK)
    models: tuple[str, ...] = ()
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
