"""What is known of users, on the bus: read and written by one owner a partition."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.base import Message
from schemas.events.security import (
    AnyMemory,
    AnyObservation,
    CheckpointRemembered,
    EffectsRemembered,
    RequestObserved,
)
from schemas.topics import FINDINGS, OBSERVATIONS, RISK, SUBJECTS
from services.analyzer.security.domain.population import FORMAT, Effects
from services.analyzer.security.partition_state import Change, LoggedState, Observed
from services.common.bus import (
    MessageReader,
    Outgoing,
    Record,
    Start,
    Tail,
    TransactionalProducer,
    not_later,
)

_CHECKPOINT, _EFFECTS = "checkpoint", "effects"


@dataclass
class BusStateLog:
    """`StateLog` over Kafka."""

    url: str = field(repr=False)
    group: str
    partition: int
    timeout_s: float = 30.0
    _producer: TransactionalProducer | None = field(default=None, init=False)
    _observations: "MessageReader[AnyObservation]" = field(
        default_factory=lambda: MessageReader(OBSERVATIONS.model, OBSERVATIONS.name), init=False
    )
    _memories: "MessageReader[AnyMemory]" = field(
        default_factory=lambda: MessageReader(SUBJECTS.model, SUBJECTS.name), init=False
    )

    @property
    def _name(self) -> str:
        return f"{self.group}-{self.partition}"

    async def open(self) -> LoggedState:
        """Fences whoever wrote before, which settles what it left pending, and reads
        what is there.

        Raises:
            BusUnavailableError: no broker, or it took too long.
        """
        await self.close()
        producer = TransactionalProducer(
            self.url, self._name, timeout_s=self.timeout_s, transactional_id=self._name
        )
        await producer.start(self.timeout_s)
        self._producer = producer
        return await self._read()

    async def replay(self, begin: int, end: int) -> AsyncIterator[Observed]:
        """The observations from `begin` to before `end` that the log still has.

        Raises:
            BusUnavailableError: they could not be read.
        """
        tail = Tail(self.url, f"{self._name}-replay", topic=OBSERVATIONS.name)
        try:
            await tail.start([self.partition], {self.partition: begin})
            async for records in tail.read_to_end({self.partition: end}):
                for record in records:
                    seen = self._observations.read(record) if record.offset < end else None
                    if seen is not None:
                        yield record.offset, in_its_time(seen, record)
        finally:
            await tail.close()

    async def write(self, effects: Effects, change: Change) -> None:
        """Writes findings, risks and what is to be remembered in one transaction.

        Raises:
            BusUnavailableError: whether it was written is not known.
            FencedError: another has taken the partition over; nothing was written.
        """
        assert self._producer is not None  # noqa: S101  opened before
        async with self._producer.transaction(self.group, {}):
            for record in (*_told(effects), *self._remembered(change)):
                await self._producer.send_soon(record)

    async def close(self) -> None:
        """Disconnects."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()

    def _remembered(self, change: Change) -> list[Outgoing]:
        records = [self._outgoing(one, None) for one in change.removed]
        records += [self._outgoing(one.subject, one) for one in change.subjects]
        if change.checkpoint is not None:
            records.append(self._outgoing(_CHECKPOINT, change.checkpoint))
        told = EffectsRemembered(partition=self.partition, offset=change.effects)
        return [*records, self._outgoing(_EFFECTS, told)]

    def _outgoing(self, what: str, value: Message | None) -> Outgoing:
        """A record of this group's: another one remembers for itself."""
        key = f"{self.group}/{what}"
        return Outgoing(SUBJECTS.name, value, subject=key, tenant="", key=key, partition=self.partition)

    async def _read(self) -> LoggedState:
        tail = Tail(self.url, f"{self._name}-state", committed_only=True, topic=SUBJECTS.name)
        kept = _Kept(f"{self.group}/")
        try:
            await tail.start([self.partition], Start.BEGINNING)
            async for records in tail.read_to_end(poll_s=0.05):
                for record in records:
                    kept.take((record.key or b"").decode(errors="replace"), self._memory(record))
            ends = await tail.end_offsets(OBSERVATIONS.name, [self.partition])
        finally:
            await tail.close()
        return LoggedState(kept.checkpoint, kept.subjects, kept.effects, ends[self.partition])

    def _memory(self, record: Record) -> AnyMemory | None:
        return None if record.value is None else self._memories.read(record)


@dataclass
class _Kept:
    """The newest of everything that one group remembers of a partition."""

    prefix: str
    checkpoint: CheckpointRemembered | None = None
    effects: int = 0
    subjects: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def take(self, key: str, found: AnyMemory | None) -> None:
        """The next record; without a value, or of another format, it ends a subject."""
        if not key.startswith(self.prefix):
            return
        if isinstance(found, CheckpointRemembered):
            self.checkpoint = found
        elif isinstance(found, EffectsRemembered):
            self.effects = found.offset
        elif found is not None and found.format == FORMAT:
            self.subjects[found.subject] = found.state
        else:
            self.subjects.pop(key.removeprefix(self.prefix), None)


def in_its_time(seen: AnyObservation, record: Record) -> AnyObservation:
    """An observation that is not from the future. Time as it is remembered never goes
    back: one of next year would let all that is suspected of anybody wane at once.
    """
    if not isinstance(seen, RequestObserved):
        return seen
    return seen.model_copy(update={"at": not_later(seen.at, record)})


def _told(effects: Effects) -> list[Outgoing]:
    findings = [
        Outgoing(
            FINDINGS.name,
            one,
            subject=one.finding_id,
            tenant=one.tenant,
            key=one.user or one.key_id or one.request_id,
        )
        for one in effects.findings
    ]
    risks = [
        Outgoing(RISK.name, risk, subject=user, tenant=user.partition("/")[0], key=user)
        for user, risk in effects.risks
    ]
    return findings + risks
