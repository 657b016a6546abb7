"""Whom an erasure or an export is about. Pure, but for the nonce of what is sealed."""

import base64
import hmac
import json
from collections.abc import Collection
from dataclasses import dataclass, field

from schemas.control import KeyChanged
from schemas.events.audit import SubjectErasure
from services.common.control.state import ControlState
from services.common.identity import pseudonyms
from services.common.requests.sealing import seal, unseal


@dataclass(frozen=True, slots=True)
class Subject:
    """A user of a tenant. `pseudonyms` are those under which events name them: as who
    calls, and as whom callers named. `key_ids` are their own API keys.
    """

    tenant: str
    user: str
    pseudonyms: tuple[str, str]
    key_ids: tuple[str, ...] = ()

    @property
    def entry_id(self) -> str:
        """Their entry's id in the control state."""
        return f"{self.tenant}/{self.user}"

    def with_keys(self, key_ids: Collection[str]) -> "Subject":
        """The same with further keys."""
        return Subject(self.tenant, self.user, self.pseudonyms, tuple(sorted({*self.key_ids, *key_ids})))


def subject_of(pseudonym_key: str, state: ControlState, tenant: str, user: str) -> Subject:
    """A user, with the keys that they have now, deleted ones included."""
    names = pseudonyms(pseudonym_key, tenant=tenant, user=user)
    return Subject(tenant, user, names, keys_of(state, tenant, user))


def keys_of(state: ControlState, tenant: str, user: str) -> tuple[str, ...]:
    """The ids of a user's own keys."""
    return tuple(sorted(key.key_id for key in state.keys.values() if _is_of(key, tenant, user)))


def _is_of(key: KeyChanged, tenant: str, user: str) -> bool:
    return (key.tenant, key.user) == (tenant, user)


@dataclass(frozen=True)
class Identities:
    """Hides who an erasure is about from all who have not the platform's pepper."""

    pepper: str = field(repr=False)
    pseudonym_key: str = field(repr=False)

    def proof(self, erasure_id: str) -> str:
        """What its requester is given, once, to show whom the receipt is about."""
        return hmac.digest(self._secret("proof"), erasure_id.encode(), "sha256").hex()

    def sealed(self, erasure_id: str, subject: Subject) -> str:
        """A subject as it lies on the bus."""
        plain = json.dumps({"user": subject.user, "key_ids": list(subject.key_ids)}).encode()
        return base64.b64encode(seal(plain, self._secret("seal"), erasure_id.encode())).decode()

    def opened(self, erasure: SubjectErasure) -> Subject | None:
        """Who an erasure is about; None once that is gone, or with another pepper."""
        plain = unseal(base64.b64decode(erasure.sealed), self._secret("seal"), erasure.erasure_id.encode())
        if plain is None:
            return None
        found = json.loads(plain)
        return subject_of(self.pseudonym_key, ControlState(), erasure.tenant, found["user"]).with_keys(
            found["key_ids"]
        )

    def _secret(self, purpose: str) -> bytes:
        return hmac.digest(self.pepper.encode(), f"tocsin privacy {purpose} 1".encode(), "sha256")


def subject_digest(proof: str, tenant: str, user: str) -> str:
    """What a receipt says of its subject: of no use without the proof."""
    named = json.dumps([tenant, user], ensure_ascii=False, separators=(",", ":"))
    return hmac.digest(bytes.fromhex(proof), named.encode(), "sha256").hex()
