"""The dispatcher of one model: reads its lanes, gives requests to replicas' inboxes,
and makes each request's one end.

Dispatchers of a model form a consumer group in which one holds the lanes and the others
stand by. The holder's leadership (`leadership.py`) begins with a takeover and ends when the
group gives the lanes to another, or with any failure to commit; the next one then
starts from what the log says.
"""

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass, field

import structlog

from schemas.inference import Lane, QueueStatus
from schemas.topics import STATUS_TOPIC, model_slug, requests_topic
from services.common.bus import GroupConsumer, Outgoing, Producer, TopicPartition
from services.common.errors import TocsinError
from services.common.requests.masking.recording import TextRecording
from services.common.requests.model_catalogue import ModelConfig
from services.inference.dispatcher.connections import Connections
from services.inference.dispatcher.leadership import Leadership
from services.inference.domain.dispatch import DispatchRules

log = structlog.get_logger(__name__)

_STANDBY_BEAT_S = 0.5


@dataclass
class Dispatcher:
    """Stands for a model's group, and serves while it holds the lanes. `texts` is shared
    with other models' dispatchers, and is closed by who made it.
    """

    url: str = field(repr=False)
    dispatcher_id: str
    model: ModelConfig
    rules: DispatchRules
    texts: TextRecording = field(default_factory=TextRecording)
    _held: set[TopicPartition] = field(default_factory=set)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _done: asyncio.Event = field(default_factory=asyncio.Event)
    _leadership: Leadership | None = None

    async def run(self) -> None:
        """Works until `close`.

        Whatever fails, the next leadership begins anew after a short wait.
        """
        try:
            while not self._stop.is_set():
                try:
                    await self._stand()
                except* TocsinError as group:
                    log.warning(
                        "dispatcher_failed",
                        model=self.model.name,
                        errors=[str(error) for error in group.exceptions],
                    )
                    await asyncio.sleep(0.2)
        finally:
            self._done.set()

    async def close(self, timeout_s: float = 10.0) -> None:
        """Commits what has ended, and leaves the group so that a standby takes over at
        once.
        """
        self._stop.set()
        self._end_leadership()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._done.wait(), timeout_s)

    async def _stand(self) -> None:
        """Joins the group and serves until stopped or failed."""
        topics = [requests_topic(self.model.name, Lane(lane)) for lane in self.model.lanes]
        lanes = GroupConsumer(
            url=self.url,
            name=self.dispatcher_id,
            group=f"tocsin.dispatcher.{model_slug(self.model.name)}",
            one_holds_all=lambda: self._leadership is not None,
        )
        out = Producer(url=self.url, name=f"dispatcher/{self.model.name}")
        self._held = set()
        try:
            await out.start()
            await lanes.start(topics, self._on_assigned, self._on_revoked)
            while not self._stop.is_set():
                await self._wait_as_standby(out)
                if self._held and not self._stop.is_set():
                    await self._serve(lanes, out)
        finally:
            await lanes.close()
            await out.close()

    async def _wait_as_standby(self, out: Producer) -> None:
        """Until the lanes come or go, telling from time to time that this dispatcher is
        there.
        """
        while not self._changed.is_set():
            beat = QueueStatus(
                dispatcher_id=self.dispatcher_id,
                model=self.model.name,
                host=socket.gethostname(),
                pid=os.getpid(),
                active=False,
            )
            await out.send_soon(Outgoing(STATUS_TOPIC.name, beat, subject=self.dispatcher_id, tenant=""))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _STANDBY_BEAT_S)
        self._changed.clear()

    async def _serve(self, lanes: GroupConsumer, out: Producer) -> None:
        places, name = tuple(sorted(self._held)), self.dispatcher_id
        connections = Connections.of(
            self.url, name, model=self.model.name, lanes=lanes, out=out, places=places
        )
        lane_of = {requests_topic(self.model.name, Lane(lane)): Lane(lane) for lane in self.model.lanes}
        lanes_held = {place: lane_of[place.topic] for place in places}
        self._leadership = Leadership(self.url, name, self.rules, connections, lanes_held, self.texts)
        try:
            await self._leadership.run()
        finally:
            self._leadership = None

    async def _on_assigned(self, places: set[TopicPartition]) -> None:
        """After every rebalance.

        Where the lanes stay, the leadership goes on from where it is.
        """
        if self._leadership is not None and places == self._held:
            self._leadership.reseek()
            return
        self._held = places
        self._end_leadership()

    async def _on_revoked(self, _places: set[TopicPartition]) -> None:
        """A rebalance begins.

        It goes on meanwhile: should the lanes go to another, its fence stops us.
        """

    def _end_leadership(self) -> None:
        self._changed.set()
        if self._leadership is not None:
            self._leadership.end()
