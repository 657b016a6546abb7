"""Who did what to whose data or settings: audit.entries; and erasures of persons' data,
how far each came: privacy.erasures.

The audit role of the analyzer chains entries by hash. Erasing a person later must not
break the chain, so the hash covers digests of `actor` and of the content (`object_id`,
`before`, `after`, `reason`), each salted from `salt`: without the salt a digest of a
guessable value (an address, a name) says nothing.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self
from uuid import uuid4

from pydantic import AwareDatetime, Field

from schemas.base import Message


class Actor(Message):
    """Who did it: `kind` is key, user, operator or service.

    `id` is a key's public part, a user's pseudonym or a service's name. `address` is
    truncated or keyed, never a whole IP address.
    """

    kind: str
    id: str
    address: str = ""


class AuditEntry(Message):
    """One act. `action` is an object and a verb: key.created, table.exported.

    `before` and `after` hold what was changed, without secrets. `outcome` is done,
    denied or failed. `entry_id` stays the same when an entry is sent again. `tenant` is
    empty for the whole platform.
    """

    entry_id: str
    salt: str = Field(min_length=32)
    occurred_at: AwareDatetime
    tenant: str = ""
    actor: Actor
    action: str
    object_kind: str
    object_id: str = ""
    outcome: str = "done"
    reason: str = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    request_id: str = ""

    @classmethod
    def create(
        cls,
        *,
        occurred_at: datetime,
        actor: Actor,
        action: str,
        object_kind: str,
        object_id: str = "",
        tenant: str = "",
        outcome: str = "done",
        reason: str = "",
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        request_id: str = "",
    ) -> Self:
        """A new entry with an id and a salt of its own."""
        return cls(
            entry_id=uuid4().hex,
            salt=secrets.token_hex(16),
            occurred_at=occurred_at,
            tenant=tenant,
            actor=actor,
            action=action,
            object_kind=object_kind,
            object_id=object_id,
            outcome=outcome,
            reason=reason,
            before=None if before is None else dict(before),
            after=None if after is None else dict(after),
            request_id=request_id,
        )


class ChainAnchored(Message):
    """What a chain's newest row was at a time: audit.anchors.

    Whoever keeps one elsewhere can prove later that the chain up to `position` is the
    one that there was. `rows` is `position` + 1. `anchored_at` is when the hour (or
    what is set) began in which it was published, so that two processes publish the same.
    """

    chain: str
    position: int = Field(ge=0)
    hash: str = Field(pattern="^[0-9a-f]{64}$")
    rows: int = Field(ge=1)
    anchored_at: AwareDatetime

    @property
    def key(self) -> str:
        """Its key in the topic: each anchor is kept."""
        return f"{self.chain}@{self.position}"


class ErasedPlace(Message):
    """What an erasure found in one place, over all its rounds.

    `pending` is what the present round has begun to erase. `left` counts what must stay,
    `why` says why, and `until` when the last of it is gone by itself (None: nothing is,
    or it stays). `rounds` are those that are done here; `failed` says why the present one
    could not be done yet.
    """

    place: str
    found: int = Field(0, ge=0)
    erased: int = Field(0, ge=0)
    pending: int = Field(0, ge=0)
    left: int = Field(0, ge=0)
    why: str = ""
    until: AwareDatetime | None = None
    rounds: int = Field(0, ge=0)
    failed: str = ""


class SubjectErasure(Message):
    """An erasure of one user of a tenant.

    Who it is lies in `sealed` (AES-256-GCM, base64) as long as there is work to do;
    afterwards nothing tells. `subject` is a keyed digest by which who has the proof that
    the requester was given can tell whom a receipt is about. What came after `cut_at` is
    not erased. Rounds are repeated, the next at `next_at`, until the bus has no copy.
    """

    erasure_id: str
    tenant: str
    subject: str
    requested_by: str
    requested_at: AwareDatetime
    cut_at: AwareDatetime
    sealed: str = ""
    state: Literal["requested", "erased", "complete"] = "requested"
    rounds: int = Field(0, ge=0)
    next_at: AwareDatetime | None = None
    places: tuple[ErasedPlace, ...] = ()
    erased_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None
