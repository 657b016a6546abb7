"""What the analyzer's security role remembers of a person, in memory and on the bus.

The role is told among its observations, so that it forgets at one point of their order
whatever dies when (`analyzer/security/partition_state.py`); what it then writes takes its
records off the bus. Where no role of a group runs, its records are taken off here: what
starts later reads the same line.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from schemas.events.security import AnyMemory, SubjectForgotten, SubjectRemembered
from schemas.topics import OBSERVATIONS, RISK, SUBJECTS
from services.common.bus import LogPosition, MessageReader, Outgoing, Record, Start, Tail
from services.common.bus.administration.inspection import GroupProgress, readers_of
from services.common.bus.consumers.consumer import written_ends
from services.common.errors import TransientError
from services.console.privacy.stored.rows import Counted, Work
from services.console.privacy.subject import Subject

_POLL_S = 0.3
_READ_TIMEOUT_S = 120.0
_LATER = "nothing; no security role runs: what it has still to read it forgets when it comes to it"
_Place = tuple[int, str]
"""A record's partition and key."""


class SecurityRoleBehindError(TransientError):
    """The security role has not come to the line that tells it whom to forget."""


@dataclass(frozen=True)
class SecurityMemory:
    """Has a person forgotten; `longest_s` is how long one attempt waits for the role."""

    url: str = field(repr=False)
    name: str
    send: Callable[[Outgoing], Awaitable[LogPosition]]
    longest_s: float = 20.0

    async def count(self, work: Work) -> int:
        """How many records of what is remembered there are.

        Raises:
            BusUnavailableError: not now.
        """
        return len(await self._remembered(work))

    async def erase(self, work: Work) -> Counted:
        """Returns once every role that runs has forgotten, and nothing is left on the
        bus.

        Raises:
            SecurityRoleBehindError: a role that runs has not, in time.
            BusUnavailableError: not now.
        """
        found = await self._remembered(work)
        told = await self.send(_line(work))
        running = await self._all_have_read(told)
        for partition, key in found:
            if key.rpartition("/user:" if "/user:" in key else "/key:")[0] not in running:
                await self._empty(SUBJECTS.name, key, partition)
        if not running:
            for user in work.subject.pseudonyms:
                await self._empty(RISK.name, f"{work.subject.tenant}/{user}", 0)
        left = len(await self._remembered(work)) if found else 0
        return Counted(len(found), len(found) - left, left, "" if running or not found else _LATER)

    async def _all_have_read(self, told: LogPosition) -> set[str]:
        """The groups that run, once they have dealt with what lies there."""
        give_up_s = time.monotonic() + self.longest_s
        while True:
            readers = await readers_of(self.url, OBSERVATIONS.name)
            running = {name: one for name, one in readers.items() if one.is_running}
            if all(_has_read(one, told) for one in running.values()):
                return set(running)
            if time.monotonic() > give_up_s:
                raise SecurityRoleBehindError(
                    f"the security role has not read {told.topic}/{told.partition} up to {told.offset} "
                    f"within {self.longest_s:g} s"
                )
            await asyncio.sleep(_POLL_S)

    async def _empty(self, topic: str, key: str, partition: int) -> None:
        await self.send(Outgoing(topic, None, subject=key, tenant="", key=key, partition=partition))

    async def _remembered(self, work: Work) -> list[_Place]:
        """Where the bus has what was remembered of a person before the cut."""
        asking = Tail(self.url, f"{self.name}-ends", topic=SUBJECTS.name)
        tail = Tail(self.url, f"{self.name}-subjects", committed_only=True, topic=SUBJECTS.name)
        found = _Found(_endings(work.subject), work.cut_at)
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                ends = await written_ends(asking)  # what a role has just written counts
                await tail.start(None, Start.BEGINNING)
                async for records in tail.read_to_end(ends, poll_s=0.05):
                    for record in records:
                        found.take(record)
        except TimeoutError as error:
            raise SecurityRoleBehindError(f"{SUBJECTS.name} could not be read in time") from error
        finally:
            await tail.close()
        return sorted(found.places)


@dataclass
class _Found:
    """The newest records whose keys end with a person's name."""

    endings: tuple[str, ...]
    before: datetime
    places: set[_Place] = field(default_factory=set)
    messages: "MessageReader[AnyMemory]" = field(
        default_factory=lambda: MessageReader(SUBJECTS.model, SUBJECTS.name)
    )

    def take(self, record: Record) -> None:
        """The next record of a partition."""
        key = (record.key or b"").decode(errors="replace")
        if not key.endswith(self.endings):
            return
        told = None if record.value is None else self.messages.read(record)
        if record.value is None or (isinstance(told, SubjectRemembered) and self._is_of_now(told)):
            self.places.discard((record.partition, key))
        else:
            self.places.add((record.partition, key))

    def _is_of_now(self, told: SubjectRemembered) -> bool:
        return told.since is not None and told.since >= self.before


def _has_read(reader: GroupProgress, told: LogPosition) -> bool:
    return reader.committed.get(told.partition, 0) > told.offset


def _endings(subject: Subject) -> tuple[str, ...]:
    return (
        *(f"/user:{subject.tenant}/{one}" for one in subject.pseudonyms),
        *(f"/key:{subject.tenant}/{one}" for one in subject.key_ids),
    )


def _line(work: Work) -> Outgoing:
    whom = SubjectForgotten(
        tenant=work.subject.tenant,
        users=work.subject.pseudonyms,
        key_ids=work.subject.key_ids,
        before=work.cut_at,
    )
    return Outgoing(OBSERVATIONS.name, whom, subject="forgotten", tenant=whom.tenant, key=whom.tenant)
