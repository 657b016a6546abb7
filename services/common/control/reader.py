"""Follows the control topic: what was changed anywhere holds here within a second."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from schemas.topics import CONTROL
from services.common.bus import Record, Start, Tail
from services.common.control.state import KINDS, ControlRecord, ControlState, Skipped, fold
from services.common.errors import BusUnavailableError
from services.common.process import metrics
from services.common.process.health import HealthState

log = structlog.get_logger(__name__)

_CATCH_UP_TIMEOUT_S = 60.0
_MARKER_S = 0.05
QUICK_POLL_MS = 20
"""For a reader that soon asks for the end again: its question waits behind a fetch."""


class Known(NamedTuple):
    """A control state, and the offset of the first record that is not in it."""

    state: ControlState
    offset: int


@dataclass
class ControlReader:
    """The control state of one process.

    Read at the start, from the topic's beginning or from where another reader of this
    process has come to (`begin_at`), then kept up to date by `run`. Nobody should act on
    `state` before `caught_up`.
    """

    url: str = field(repr=False)
    name: str
    health: HealthState | None = None
    connect_timeout_s: float = 60.0
    longest_poll_ms: int = 500
    begin_at: Known | None = None
    state: ControlState = field(default_factory=ControlState, init=False)
    caught_up: bool = field(default=False, init=False)
    tail: Tail = field(init=False)
    _offset: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.tail = Tail(
            self.url,
            f"{self.name}-control",
            committed_only=True,
            connect_timeout_s=self.connect_timeout_s,
            topic=CONTROL.name,
            longest_poll_ms=self.longest_poll_ms,
        )

    async def start(self) -> None:
        """Connects, and reads what there is.

        Raises:
            BusUnavailableError: no broker, or no control topic, or it took too long.
        """
        self._report(ok=False, detail="being read")
        await self._begin()
        await self.catch_up()
        self.caught_up = True
        self._report(ok=True, detail=f"{len(self.state.keys)} keys")

    @property
    def known(self) -> Known | None:
        """What this reader has read, for another one to begin at; None before all is."""
        return Known(self.state, self._offset) if self.caught_up else None

    async def _begin(self) -> None:
        """A topic that ends before what is known is another one, and is read whole."""
        if self.begin_at is None:
            await self.tail.start([0], Start.BEGINNING)
            return
        state, offset = self.begin_at
        await self.tail.start([0], {0: offset})
        if (await self.tail.end_offsets(CONTROL.name, [0]))[0] < offset:
            log.warning("control_topic_is_another", known_to=offset)
            self.tail.seek(CONTROL.name, 0, 0)
            return
        self.state, self._offset = state, offset

    async def catch_up(self, timeout_s: float = _CATCH_UP_TIMEOUT_S) -> None:
        """Reads to the topic's present end. Not while `run` runs.

        Raises:
            BusUnavailableError: Kafka did not answer within `timeout_s`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                async for records in self.tail.read_to_end(poll_s=_MARKER_S):
                    self._take(records)
        except TimeoutError as error:
            raise BusUnavailableError(f"{CONTROL.name} could not be read within {timeout_s} s") from error

    async def run(self) -> None:
        """Follows the changes, until cancelled."""
        while True:
            self._take(await self.tail.poll())

    async def close(self) -> None:
        """Disconnects."""
        await self.tail.close()

    def _take(self, found: Sequence[Record]) -> None:
        if not found:
            return
        records = [ControlRecord((one.key or b"").decode(errors="replace"), one.value) for one in found]
        self._offset = found[-1].offset + 1
        before = self.state
        self.state = fold(before, records)
        _tell(before.skipped, self.state)

    def _report(self, *, ok: bool, detail: str) -> None:
        if self.health is not None:
            self.health.report("control", ok=ok, detail=detail)


async def read_control_state(url: str, *, connect_timeout_s: float = 60.0) -> ControlState:
    """The state as it is now.

    Raises:
        BusUnavailableError: Kafka or the control topic cannot be read.
    """
    reader = ControlReader(url, "look", connect_timeout_s=connect_timeout_s, longest_poll_ms=QUICK_POLL_MS)
    try:
        await reader.start()
        return reader.state
    finally:
        await reader.close()


def _tell(before: Skipped, state: ControlState) -> None:
    """Counts what is known, and what was passed over."""
    for kind in KINDS:
        metrics.CONTROL_ENTRIES.labels(kind).set(len(state.entries(kind)))
    for why in Skipped._fields:
        more = getattr(state.skipped, why) - getattr(before, why)
        if more:
            metrics.BUS_SKIPPED.labels(CONTROL.name, why).inc(more)
            log.warning("control_records_skipped", why=why, count=more)
