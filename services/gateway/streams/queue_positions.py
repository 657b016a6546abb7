"""Where waiting requests stand in their queues, as the dispatchers tell it, and where
the next one would.

Read only while somebody waits: the topic carries much else.
"""

import asyncio
from dataclasses import dataclass, field

import structlog

from schemas.inference import STATUS, AnyStatus, Lane, QueueStatus
from schemas.topics import STATUS_TOPIC
from services.common.bus import MessageReader, Tail
from services.common.clock import MonotonicClock, monotonic_s
from services.common.errors import BusUnavailableError
from services.common.requests.fair_turns import position_of_next

log = structlog.get_logger(__name__)

_QUEUE = b'"kind":"queue"'
_AGAIN_S = 1.0
_FRESH_S = 2.0
"""A dispatcher that says nothing for so long is gone, and its queue another's."""


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """A request's place in its queue, 1 the next, and how long it will wait as far as
    that is known.
    """

    position: int
    eta_ms: float | None


@dataclass
class QueuePositions:
    """Follows the queue lengths while it is `wanted`."""

    tail: Tail
    monotonic: MonotonicClock = monotonic_s
    messages: "MessageReader[AnyStatus]" = field(
        default_factory=lambda: MessageReader(STATUS, STATUS_TOPIC.name), init=False
    )
    _queues: dict[str, tuple[QueueStatus, float]] = field(default_factory=dict, init=False)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def want(self, *, wanted: bool) -> None:
        """Says whether somebody waits."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()
            self._queues.clear()

    def place_of(self, request_id: str, model: str) -> QueuePosition | None:
        """Where a request stands; None where nobody said so yet."""
        queue = self._queue_of(model)
        position = queue.positions.get(request_id) if queue else None
        return None if queue is None or position is None else _place(queue, position)

    def position_of_next(self, tenant: str, model: str, lane: Lane, *, share: float) -> QueuePosition | None:
        """Where the next request of a tenant of this share would stand; None where nobody
        waits, or nobody said so.
        """
        queue = self._queue_of(model)
        if queue is None or not (queue.retries or any(queue.turns.values())):
            return None
        return _place(queue, position_of_next(queue, tenant=tenant, lane=lane, share=share))

    async def run(self) -> None:
        """Reads while wanted, until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                await self.tail.start([0])
                while self._wanted.is_set():
                    await self._poll()
            except BusUnavailableError as error:
                log.warning("queue_positions_unread", error=repr(error))
                await asyncio.sleep(_AGAIN_S)
            finally:
                await self.tail.close()

    async def _poll(self) -> None:
        for record in await self.tail.poll(0.5):
            if record.value is None or _QUEUE not in record.value:
                continue
            status = self.messages.read(record)
            if isinstance(status, QueueStatus) and status.active:
                self._queues[status.model] = status, self.monotonic()

    def _queue_of(self, model: str) -> QueueStatus | None:
        known = self._queues.get(model)
        return known[0] if known is not None and self.monotonic() - known[1] <= _FRESH_S else None


def _place(queue: QueueStatus, position: int) -> QueuePosition:
    return QueuePosition(position, None if queue.eta_ms is None else queue.eta_ms * position)
