"""Whether Kafka answers.

Asked twice a second, so that a client hears at once that the bus is away, and its
silence is not taken for a replica's.
"""

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from schemas.errors import ErrorCode
from schemas.topics import REPLIES
from services.common.bus import ReadProgress, Tail
from services.common.clock import MonotonicClock, monotonic_s
from services.common.errors import BusUnavailableError
from services.common.http.problems import unavailable
from services.common.process import metrics
from services.common.process.health import HealthState

log = structlog.get_logger(__name__)

_PROBE_TIMEOUT_S = 1.0
_REST_S = 0.02
"""Between two questions, however much somebody hurries."""


class Reader(Protocol):
    """Reads a partition, and is told where that ends."""

    partition: int
    progress: ReadProgress


@dataclass
class BusMonitor:
    """Asks Kafka for the end of this gateway's partition, again and again, and for the
    topics that were missing. Readers learn from it whether they have read to the end.

    It has a connection of its own that fetches nothing: a broker answers in order, and
    a fetch may wait for a second.
    """

    tail: Tail
    health: HealthState
    topics: Collection[str]
    interval_s: float = 0.5
    clock: MonotonicClock = monotonic_s
    partition: int = field(default=0, init=False)
    steady_since: float = field(default=float("inf"), init=False)
    """Since when Kafka has answered every time, on the monotonic clock; infinity while
    it does not.
    """
    _missing: set[str] = field(default_factory=set, init=False)
    _readers: list[Reader] = field(default_factory=list, init=False)
    _hurried: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def __post_init__(self) -> None:
        self._missing = set(self.topics)

    @property
    def available(self) -> bool:
        """Whether Kafka answered when last asked."""
        return self.steady_since != float("inf")

    @property
    def present(self) -> list[str]:
        """The topics that are there."""
        return sorted(set(self.topics) - self._missing)

    def watch(self, reader: Reader) -> None:
        """Tells a reader from now on where its partition ends."""
        self._readers.append(reader)

    def unwatch(self, reader: Reader) -> None:
        """Tells it no more."""
        self._readers.remove(reader)

    def hurry(self) -> None:
        """Somebody waits to know whether a partition has been read to its end: asks
        soon.
        """
        self._hurried.set()

    def require(self, topic: str) -> None:
        """Passes while the bus can take records of a topic.

        Raises:
            ProblemError: 503, it cannot.
        """
        if not self.available:
            raise unavailable(
                "The message bus is away; nothing was begun. Try again.", code=ErrorCode.BUS_UNAVAILABLE
            )
        if topic in self._missing:
            raise unavailable(
                f"The topic {topic} is not there yet; `tocsin topics` creates it.",
                code=ErrorCode.TOPIC_MISSING,
                retry_after_s=5,
            )

    def note_failure(self, error: BaseException) -> None:
        """Kafka failed somebody: it counts as away until it answers again."""
        if self.available:
            log.warning("bus_away", error=repr(error))
        self.steady_since = float("inf")
        metrics.GATEWAY_BUS_AWAY.set(1)
        self.health.report("kafka", ok=False, detail=repr(error))

    async def start(self, partition: int) -> None:
        """Connects, and asks for the first time.

        Raises:
            BusUnavailableError: no broker.
        """
        self.partition = partition
        await self.tail.start([], {})
        await self.probe()

    async def close(self) -> None:
        """Disconnects."""
        await self.tail.close()

    async def run(self) -> None:
        """Keeps asking, until cancelled."""
        while True:
            await self.probe()
            await asyncio.sleep(_REST_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurried.wait(), max(0.0, self.interval_s - _REST_S))
            self._hurried.clear()

    async def probe(self) -> None:
        """Asks once."""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                asked_at = self.clock()
                ends = await self.tail.end_offsets(REPLIES.name, [self.partition])
        except Exception as error:  # noqa: BLE001  whatever the driver raises, the answer is that Kafka does not answer
            self.note_failure(error)
            return
        if not self.available:
            self.steady_since = self.clock()
            metrics.GATEWAY_BUS_AWAY.set(0)
            log.info("bus_there")
        self.health.report("kafka", ok=True)
        await self._tell_readers(ends, asked_at)
        await self._look_for_missing()

    async def _tell_readers(self, ends: dict[int, int], asked_at: float) -> None:
        for reader in list(self._readers):
            if reader.partition not in ends:
                asked_at = self.clock()
                with contextlib.suppress(BusUnavailableError, TimeoutError):
                    async with asyncio.timeout(_PROBE_TIMEOUT_S):
                        ends = await self.tail.end_offsets(REPLIES.name, [reader.partition])
            if reader.partition in ends:
                reader.progress.observe_end(ends[reader.partition], asked_at=asked_at)

    async def _look_for_missing(self) -> None:
        for topic in sorted(self._missing):
            try:
                async with asyncio.timeout(_PROBE_TIMEOUT_S):
                    await self.tail.partitions(topic)
            except (BusUnavailableError, TimeoutError):
                continue
            self._missing.discard(topic)
        self.health.report(
            "topics",
            ok=not self._missing,
            detail=f"missing: {', '.join(sorted(self._missing))}" if self._missing else "",
        )
