"""The erasure of a person's data: privacy.erasures, the newest record of each erasure
says how far it came.
"""

from typing import Literal

from pydantic import AwareDatetime, Field

from schemas.base import Message


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
