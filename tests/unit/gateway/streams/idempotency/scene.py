"""A log that is in memory, and what is asked."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from schemas.inference import End, InferenceRequested, Lane, Outcome, ReplyTo
from services.common.bus import Outgoing
from services.common.errors import BusUnavailableError
from services.gateway.streams.idempotency.sealing import Asked

NOW = datetime(2026, 11, 27, tzinfo=UTC)
ASKED = Asked(("acme", "key00001"), "k", b"question")
ENDED = End(outcome=Outcome.COMPLETED)


class Written(NamedTuple):
    """A record."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    timestamp: int


@dataclass
class Log:
    """Producer, tail and scans of one log."""

    mute: bool = False
    away: bool = False
    slow: asyncio.Event = field(default_factory=asyncio.Event)
    """Answers are taken while it is set."""
    fails: list[Exception] = field(default_factory=list)
    """What becomes of the next records that are sent, though they are in the log."""
    records: list[Written] = field(default_factory=list)
    _read: int = 0
    _grew: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, record: Outgoing) -> None:
        """Appends."""
        if self.away:
            raise BusUnavailableError("away")
        assert record.value is not None
        if "answers" in record.topic:
            await self.slow.wait()
        written = Written(
            record.topic,
            record.partition or 0,
            len(self.records),
            record.subject.encode(),
            record.value.encode(),
            5,
        )
        self.records.append(written)
        self._grew.set()
        if self.fails:
            raise self.fails.pop(0)

    async def partitions(self, topic: str) -> int:
        """Two."""
        assert topic
        return 2

    async def poll(self) -> list[Written]:
        """What is new of the claims, unless it is mute."""
        while self.mute or self._read == len(self.records):
            self._grew.clear()
            await self._grew.wait()
        found, self._read = self.records[self._read :], len(self.records)
        return [one for one in found if "claims" in one.topic]

    async def close(self) -> None:
        """Nothing."""

    def of(self, topic: str, partition: int) -> "Scan":
        """A scan."""
        return Scan([one for one in self.records if (one.topic, one.partition) == (topic, partition)])

    def kinds(self, kind: type) -> list[Any]:
        """What was written of a kind."""
        found = []
        for one in self.records:
            with_kind = f'"kind":"{kind.__name__.removeprefix("Key").lower()}"'.encode()
            if with_kind in one.value:
                found.append(kind.model_validate_json(one.value))  # type: ignore[attr-defined]
        return found


@dataclass
class Scan:
    """Finds records by their key."""

    records: list[Written]

    async def records_of(self, key: bytes, *_: object, **__: object) -> list[Written]:
        """Those of a key."""
        return [one for one in self.records if one.key == key]


def request(n: int = 1) -> InferenceRequested:
    """What is asked."""
    base = InferenceRequested(
        request_id="chatcmpl-1",
        kind="chat",
        model="m",
        lane=Lane.INTERACTIVE,
        tenant="acme",
        key_id="key00001",
        messages=({"role": "user", "content": "secret"},),
        reply_to=ReplyTo(partition=0, gateway_id="g"),
        requested_at=NOW,
        deadline=NOW,
    )
    return base.model_copy(update={"sampling": base.sampling.model_copy(update={"n": n})})


class Stream:
    """A reply stream's listening side."""

    def __init__(self) -> None:
        self.request = request()
        self.hear: Any = None

    def listen(self, listener: Any) -> None:
        """Takes the listener."""
        self.hear = listener


async def until(condition: Any) -> None:
    """Waits for tasks that nothing announces."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  what is looked at has no event
            await asyncio.sleep(0)
