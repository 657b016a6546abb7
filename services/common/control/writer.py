"""The one way to change the control state: read it, decide, write, read the own write.

Two writers at once lose nothing. A writer first takes the transactional id that all
writers share, which fences the writer that had it; only then it reads the state. What
it writes becomes visible only if nobody has taken the id since, so no other change lies
between the state that it decided on and its own change. A writer that was fenced begins
again.

The change and its audit entry are one transaction: neither is there without the other.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from schemas.control import AnyEntry, KeyChanged, control_key
from schemas.events.audit import Actor, AuditEntry
from schemas.topics import CONTROL
from services.common.bus import FencedError, Outgoing, TransactionalProducer
from services.common.clock import Clock, utc_now
from services.common.control.audit_entries import audit_record
from services.common.control.changes import Change, Plan, public_fields
from services.common.control.errors import InvalidChangeError
from services.common.control.reader import QUICK_POLL_MS, ControlReader, Known
from services.common.control.state import ControlState
from services.common.errors import BusUnavailableError
from services.common.identity import is_signed, sign_key
from services.common.retry import retry

log = structlog.get_logger(__name__)

_TRANSACTIONAL_ID = "tocsin-control"
_CONNECT_TIMEOUT_S = 30.0
_TOTAL_TIMEOUT_S = 60.0
_READS_BACK = 250


@dataclass
class ControlWriter:
    """Changes control state in the name of `actor`.

    `pepper` signs API keys; only changes of keys need it. Where `unnamed`, the audit is
    told what was done to entries of which kind, not to which. `known` is what this process
    has read of the control state already: only the rest is read before a change. Without
    it the whole topic is.
    """

    url: str = field(repr=False)
    actor: Actor
    pepper: str = field(default="", repr=False)
    clock: Clock = utc_now
    connect_timeout_s: float = _CONNECT_TIMEOUT_S
    known: Known | None = None
    unnamed: bool = False

    async def apply(self, change: Change) -> AnyEntry | None:
        """Makes a change and returns the entry as every service has it within a second;
        None where it was removed for good.

        Raises:
            ChangeRefusedError: the present state does not allow it; nothing was written.
            BusUnavailableError: Kafka did not confirm it within a minute. It may have
                been made all the same: look before it is asked for again.
        """
        reader = ControlReader(
            self.url,
            "control-writer",
            connect_timeout_s=self.connect_timeout_s,
            longest_poll_ms=QUICK_POLL_MS,
            begin_at=self.known,
        )
        attempt = _Attempt(self, reader, change)
        try:
            await reader.start()
            return await retry(
                attempt.make, on=(FencedError, BusUnavailableError), timeout_s=_TOTAL_TIMEOUT_S
            )
        finally:
            await reader.close()

    def stamp(self, plan: Plan, now: datetime) -> Plan:
        """The plan with who and when; a key is signed.

        Raises:
            InvalidChangeError: the key as it stands was not signed with this pepper:
                somebody else wrote it, and signing it anew would make that good.
        """
        if plan.after is None:
            return plan
        if isinstance(plan.before, KeyChanged) and not is_signed(plan.before, pepper=self.pepper):
            raise InvalidChangeError(
                "record_mac",
                f"the key {plan.entry_id} was not written with this TOCSIN_KEY_PEPPER, or before records "
                "were signed, so no gateway lets it in; `tocsin keys purge` removes it, `tocsin keys create` "
                "makes another",
            )
        after = plan.after.model_copy(
            update={"changed_at": now, "changed_by": f"{self.actor.kind}:{self.actor.id}"}
        )
        return replace(
            plan, after=sign_key(after, pepper=self.pepper) if isinstance(after, KeyChanged) else after
        )

    def records(self, plan: Plan, now: datetime) -> Iterator[Outgoing]:
        """What is to be written: the entry, or what removes it, and the audit's entry."""
        names = [control_key(plan.kind, plan.entry_id)]
        if plan.kind == "key" and plan.after is None:
            names.append(plan.entry_id)  # how keys were named once: such a record must not come back
        for name in names:
            yield Outgoing(
                CONTROL.name, plan.after, subject=plan.entry_id, tenant=plan.tenant, key=name, partition=0
            )
        entry = AuditEntry.create(
            occurred_at=now,
            actor=self.actor,
            action=f"{plan.kind}.{plan.verb}",
            object_kind=plan.kind,
            tenant=plan.tenant,
            **({} if self.unnamed else _named(plan)),
        )
        yield audit_record(entry)


@dataclass
class _Attempt:
    """One change, tried until it is made: `tried` is what a former try may have left."""

    writer: ControlWriter
    reader: ControlReader
    change: Change
    tried: Plan | None = None

    async def make(self) -> AnyEntry | None:
        producer = TransactionalProducer(
            self.writer.url, "control-writer", clock=self.writer.clock, transactional_id=_TRANSACTIONAL_ID
        )
        try:
            await producer.start(timeout_s=self.writer.connect_timeout_s)  # fences, and settles a former try
            await self.reader.catch_up()
            if self.tried is not None and _is_made(self.reader.state, self.tried):
                return self.tried.after
            now = self.writer.clock()
            plan = self.change(self.reader.state, now)
            if plan.before is not None and plan.before == plan.after:
                return plan.after
            self.tried = plan = self.writer.stamp(plan, now)
            offset = await self._publish(producer, plan, now)
        finally:
            await producer.close()
        await self._read_back(offset)
        told = plan.tenant if plan.kind == "user" else plan.entry_id  # a log forgets nobody
        log.info("control_changed", kind=plan.kind, id=told, verb=plan.verb)
        return plan.after

    async def _publish(self, producer: TransactionalProducer, plan: Plan, now: datetime) -> int:
        """Writes all records of a plan or none; the offset of the first."""
        async with producer.transaction("", {}):
            sent = [await producer.send_soon(record) for record in self.writer.records(plan, now)]
        return int(sent[0].result().offset)

    async def _read_back(self, offset: int) -> None:
        """Reads on until the change is there, which its commit has promised.

        Raises:
            BusUnavailableError: it is not.
        """
        for _ in range(_READS_BACK):
            await self.reader.catch_up()
            if await self.reader.tail.position(CONTROL.name, 0) > offset:
                return
            await asyncio.sleep(0.02)  # the end that the broker tells lags behind a commit for a moment
        raise BusUnavailableError(f"the change at {CONTROL.name}@{offset} did not come back")


def _named(plan: Plan) -> dict[str, Any]:
    return {
        "object_id": plan.entry_id,
        "before": public_fields(plan.before) if plan.before else None,
        "after": public_fields(plan.after) if plan.after else None,
    }


def _is_made(state: ControlState, plan: Plan) -> bool:
    return state.get(plan.kind, plan.entry_id) == plan.after
