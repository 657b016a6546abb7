"""Where waiting requests stand in their queues, as the dispatchers tell it.

Read only while somebody waits: the topic carries much else.
"""

import asyncio
from dataclasses import dataclass, field

import structlog

from schemas.inference import STATUS, AnyStatus, QueueStatus
from schemas.topics import STATUS_TOPIC
from services.common.bus import MessageReader, Tail
from services.common.errors import BusUnavailableError

log = structlog.get_logger(__name__)

_QUEUE = b'"kind":"queue"'
_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """A request's place in its queue, 1 the next, and how long it will wait as far as
    that is known.
    """

    position: int
    eta_ms: float | None


@dataclass
class QueuePositions:
    """Follows the queue lengths while it is `wanted`."""

    tail: Tail
    messages: "MessageReader[AnyStatus]" = field(
        default_factory=lambda: MessageReader(STATUS, STATUS_TOPIC.name), init=False
    )
    _queues: dict[str, QueueStatus] = field(default_factory=dict, init=False)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def want(self, *, wanted: bool) -> None:
        """Says whether somebody waits."""
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()
            self._queues.clear()

    def place_of(self, request_id: str, model: str) -> Place | None:
        """Where a request stands; None where nobody said so yet."""
        queue = self._queues.get(model)
        position = queue.positions.get(request_id) if queue else None
        if queue is None or position is None:
            return None
        return Place(position, None if queue.eta_ms is None else queue.eta_ms * position)

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
                self._queues[status.model] = status
