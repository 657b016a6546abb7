"""The one way to write an audit entry that is no part of a change of control state
(whose entries are in the change's own transaction: `writer.py`).

Two ways, by what the act gives. What gives something (data, a session, a token, an
export) is answered only once its entry is acknowledged by all replicas: `record`. What
gives nothing (a refusal) is answered at once, and its entry is queued: `note`. Its
answer must not wait for the bus, nor may who knocks decide how much is kept for it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from schemas.events.audit import Actor, AuditEntry
from schemas.inference import InferenceRequested
from schemas.topics import AUDIT
from services.common.bus import Outgoing
from services.common.errors import BusUnavailableError, TocsinError
from services.common.process import metrics

log = structlog.get_logger(__name__)

Send = Callable[[Outgoing], Awaitable[object]]
"""Sends an event and waits until all replicas have it, as `CountingProducer.send` does:
the ledger counts audit entries.
"""

_CLOSE_S = 5.0


def audit_record(entry: AuditEntry) -> Outgoing:
    """An entry as the bus takes it."""
    return Outgoing(
        AUDIT.name,
        entry,
        subject=entry.entry_id,
        tenant=entry.tenant,
        key=entry.tenant or None,
        partition=0,
    )


def blocked_request(request: InferenceRequested, *, now: datetime, category: str) -> AuditEntry:
    """The entry of a request whose prompt was blocked: whose it was and what kind of
    thing was found, never the text. For `note`, after the request's end is recorded: the
    ledger proves that one, so the answer need not wait for this.
    """
    actor = Actor(kind="key", id=request.key_id) if request.key_id else Actor(kind="user", id=request.user)
    return AuditEntry.create(
        occurred_at=now,
        actor=actor,
        action="request.blocked",
        object_kind="request",
        object_id=request.request_id,
        tenant=request.tenant,
        outcome="denied",
        reason=category,
        request_id=request.request_id,
    )


@dataclass
class AuditWriter:
    """Writes entries; `most` may wait in the queue, and one that finds it full is counted
    and logged instead.
    """

    send: Send
    timeout_s: float = 3.0
    most: int = 1000
    pause_s: float = 1.0
    _queue: "deque[AuditEntry]" = field(default_factory=deque, init=False)
    _filled: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def record(self, entry: AuditEntry) -> None:
        """Writes an entry, once all replicas have it.

        Raises:
            BusUnavailableError: not within `timeout_s`. It may still arrive: then an act
                is in the audit whose answer nobody got.
        """
        try:
            async with asyncio.timeout(self.timeout_s):
                await self.send(audit_record(entry))
        except TimeoutError as error:
            metrics.AUDIT_UNWRITTEN.labels("unconfirmed").inc()
            raise BusUnavailableError(
                f"Kafka did not acknowledge the audit's entry within {self.timeout_s:g} s"
            ) from error
        except BusUnavailableError:
            metrics.AUDIT_UNWRITTEN.labels("unconfirmed").inc()
            raise

    def note(self, entry: AuditEntry) -> None:
        """Has an entry written soon, by `run`."""
        if len(self._queue) >= self.most:
            _lost(entry, "queue_full")
            return
        self._queue.append(entry)
        self._filled.set()

    async def run(self) -> None:
        """Writes what was noted, until cancelled. While the bus is away an entry is
        tried again without end, and the queue fills.
        """
        while True:
            await self._filled.wait()
            while self._queue and await self._is_written(self._queue[0]):
                self._queue.popleft()
            if self._queue:
                await asyncio.sleep(self.pause_s)
            else:
                self._filled.clear()

    async def close(self) -> None:
        """Writes what is left, within five seconds, once `run` has ended; counts what is
        not written.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                while self._queue and await self._is_written(self._queue[0]):
                    self._queue.popleft()
        while self._queue:
            _lost(self._queue.popleft(), "closed")

    async def _is_written(self, entry: AuditEntry) -> bool:
        """True too for one that can never be written, which is counted."""
        try:
            await self.record(entry)
        except BusUnavailableError as error:
            log.warning("audit_entry_waits", action=entry.action, error=str(error))
            return False
        except TocsinError as error:
            log.error("audit_entry_refused", action=entry.action, error=str(error))  # noqa: TRY400  its message says it
            metrics.AUDIT_UNWRITTEN.labels("refused").inc()
        return True


def _lost(entry: AuditEntry, why: str) -> None:
    metrics.AUDIT_UNWRITTEN.labels(why).inc()
    log.error("audit_entry_lost", why=why, action=entry.action, outcome=entry.outcome, tenant=entry.tenant)
