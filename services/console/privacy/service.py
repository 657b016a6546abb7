"""Asking for an erasure, and what is told of it."""

import hmac
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

from schemas.control import Scope
from schemas.events.audit import Actor, AuditEntry, SubjectErasure
from services.common.clock import Clock
from services.common.control.state import ControlState
from services.common.errors import PermanentError
from services.console.privacy.log import ErasureLog
from services.console.privacy.subject import Identities, Subject, subject_digest, subject_of

LONGEST_REQUEST = timedelta(minutes=75)
"""What was asked by then has ended: requests wait an hour at most."""
MOST_USER_CHARS = 1024
MOST_WAITING = 20
MOST_OPEN = 2_000
"""Of a tenant: erasures whose first round is not done, and that are not complete. One at
a time is worked at, and each is kept by every console.
"""


class TooManyErasuresError(PermanentError):
    """A tenant has as many erasures under way as it may have."""


@dataclass(frozen=True)
class ErasureService:
    """Begins erasures. `record` writes an audit entry, and returns once it is there;
    `begun` are told the id of each that was asked for here.
    """

    log: ErasureLog
    identities: Identities
    record: Callable[[AuditEntry], Awaitable[None]]
    clock: Clock
    begun: list[Callable[[str], None]] = field(default_factory=list)

    async def request(
        self, state: ControlState, tenant: str, user: str, actor: Actor
    ) -> tuple[SubjectErasure, str]:
        """The erasure of a user, begun now or under way already, and the proof whom it is
        about. Whoever is not known is erased like others: the receipt then says zeros.

        Raises:
            BusUnavailableError: not now; nothing is begun, whatever the audit says.
            TooManyErasuresError: the tenant has too many under way.
        """
        subject = subject_of(self.identities.pseudonym_key, state, tenant, user)
        under_way = self._under_way(subject)
        if under_way is None:
            self._require_room(tenant)
        erasure_id = under_way.erasure_id if under_way else uuid4().hex
        proof = self.identities.proof(erasure_id)
        now = self.clock()
        await self.record(
            AuditEntry.create(
                occurred_at=now,
                actor=actor,
                action="subject.erasure_requested",
                object_kind="erasure",
                object_id=erasure_id,
                tenant=tenant,
            )
        )
        if under_way:
            return under_way, proof
        erasure = SubjectErasure(
            erasure_id=erasure_id,
            tenant=tenant,
            subject=subject_digest(proof, tenant, user),
            requested_by=f"{actor.kind}:{actor.id}",
            requested_at=now,
            cut_at=now + LONGEST_REQUEST,
            sealed=self.identities.sealed(erasure_id, subject),
            next_at=now,
        )
        for tell in self.begun:
            tell(erasure_id)
        return await self.log.publish(erasure), proof

    def _require_room(self, tenant: str) -> None:
        theirs = [one for one in self.log.known.values() if one.tenant == tenant and one.state != "complete"]
        waiting = sum(one.rounds == 0 for one in theirs)
        if waiting >= MOST_WAITING or len(theirs) >= MOST_OPEN:
            raise TooManyErasuresError(
                f"The tenant has {waiting} erasures waiting for their first round and {len(theirs)} that are "
                f"not complete; at most {MOST_WAITING} and {MOST_OPEN} may be. Ask again when one is done."
            )

    def _under_way(self, subject: Subject) -> SubjectErasure | None:
        """An erasure of the subject whose first round is not done."""
        for one in self.log.known.values():
            if one.tenant == subject.tenant and one.rounds == 0 and one.state == "requested":
                digest = subject_digest(self.identities.proof(one.erasure_id), subject.tenant, subject.user)
                if hmac.compare_digest(digest, one.subject):
                    return one
        return None


def is_platforms(state: ControlState, tenant: str, user: str) -> bool:
    """Whether a user administers the platform, or has a key that does."""
    entry = state.users.get(f"{tenant}/{user}")
    scopes = set(entry.scopes if entry else ())
    for key in state.keys.values():
        if (key.tenant, key.user) == (tenant, user):
            scopes.update(key.scopes)
    return Scope.PLATFORM in scopes


def newest_first(erasures: Iterable[SubjectErasure], tenant: str | None) -> list[SubjectErasure]:
    """Those of a tenant, or of all."""
    return sorted(
        (one for one in erasures if tenant is None or one.tenant == tenant),
        key=lambda one: (one.requested_at, one.erasure_id),
        reverse=True,
    )


def iso(moment: datetime | None) -> str | None:
    """A time as it is written in receipts."""
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")
