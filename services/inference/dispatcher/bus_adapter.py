"""What the bus brings, given to the dispatch; what the dispatch decides, put on the bus."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import structlog

from schemas.envelope import traceparent_of
from schemas.inference import STATUS, AnyStatus, CancelRequested, Lane, ReplicaBeat, RequestFinished
from schemas.topics import COMMANDS, STATUS_TOPIC
from services.common.bus import MessageReader, ReadProgress, Record, position_of
from services.common.clock import utc_now
from services.common.errors import RecordTooLargeError
from services.inference.dispatcher.connections import Connections
from services.inference.dispatcher.messages import (
    CANCEL,
    read_request,
    refused_meanwhile,
    reply_records,
    shortened,
    stand_in_of,
    work_record,
)
from services.inference.domain.dispatch import Action, Assign, Dispatch, Moment, Reply
from services.inference.domain.unreadable import unreadable_report

log = structlog.get_logger(__name__)


def now() -> Moment:
    """The time on both clocks."""
    return Moment(utc_now(), time.monotonic())


@dataclass
class BusAdapter:
    """Gives records to a dispatch and puts its actions on the bus.

    `lanes` names the lane of each topic; `epoch` marks this leadership's assignments.
    `committing` is set once there is something to commit.
    """

    connections: Connections
    model: str
    lanes: dict[str, Lane]
    epoch: int
    reply_partitions: int
    committing: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    heard_s: float = field(default=0.0, init=False)
    """When the status topic last brought something, on the monotonic clock."""
    progress: ReadProgress = field(default_factory=ReadProgress, init=False)
    """Up to which moment the status topic was read."""

    def __post_init__(self) -> None:
        self._statuses: MessageReader[AnyStatus] = MessageReader(STATUS, STATUS_TOPIC.name)
        self._cancels: MessageReader[CancelRequested] = MessageReader(CANCEL, COMMANDS.name)
        self._key_prefix = f"{self.model}#".encode()

    async def on_lanes(self, dispatch: Dispatch, records: Iterable[Record]) -> None:
        """Records of the lanes, in order."""
        for record in records:
            await self.perform(dispatch, self._on_lane_record(dispatch, record))

    async def on_status(self, dispatch: Dispatch, records: Iterable[Record], live_from: int = 0) -> None:
        """Records of the status topic; those before `live_from` are of the past."""
        read_to = 0
        for record in records:
            read_to = record.offset + 1
            if record.key is None or not record.key.startswith(self._key_prefix):
                continue
            status = self._statuses.read(record) or unreadable_report(record.value, self.model)
            if isinstance(status, ReplicaBeat):
                live = record.offset >= live_from
                await self.perform(dispatch, dispatch.on_beat(status, now(), live=live))
            elif isinstance(status, RequestFinished):
                await self.perform(dispatch, dispatch.on_finished(status, now()))
        if read_to:
            self.heard_s = time.monotonic()
            self.progress.advance(read_to)

    async def on_commands(self, dispatch: Dispatch, records: Iterable[Record]) -> None:
        """Records of the commands topic."""
        for cancel in self._own_cancels(records):
            await self.perform(dispatch, dispatch.on_cancel(cancel, now()))

    def on_refusals(self, dispatch: Dispatch, records: Iterable[Record]) -> None:
        """Reads only the cancellations of requests whose clients got 503."""
        for cancel in self._own_cancels(records):
            dispatch.on_refusal(cancel)

    def _own_cancels(self, records: Iterable[Record]) -> Iterator[CancelRequested]:
        for record in records:
            cancel = self._cancels.read(record)
            if cancel is not None and cancel.model == self.model:
                yield cancel

    async def perform(self, dispatch: Dispatch, actions: Iterable[Action]) -> None:
        """Puts on the bus what is to be done.

        What is too large for a record ends its own request.
        """
        for action in actions:
            try:
                await self._send(action)
            except RecordTooLargeError as error:
                log.error("action_too_large", action=type(action).__name__, error=str(error))  # noqa: TRY400  one line says it
                if isinstance(action, Assign):
                    request = action.request
                    refused = dispatch.on_refused(request.request_id, request.attempt, now())
                    await self.perform(dispatch, refused)
                elif isinstance(action, Reply):
                    await self._send(shortened(action))
        if dispatch.completions.ends or dispatch.completions.finished_unrecorded:
            self.committing.set()

    async def _send(self, action: Action) -> None:
        if isinstance(action, Reply):
            for record in reply_records(action, self.reply_partitions):
                await self.connections.out.send_soon(record)
        else:
            await self.connections.out.send_soon(work_record(action, self.epoch))

    def _on_lane_record(self, dispatch: Dispatch, record: Record) -> list[Action]:
        position, request = position_of(record), read_request(record)
        if request is not None:
            late = refused_meanwhile(request, record)
            actions = dispatch.on_cancel(late, now()) if late is not None else []
            return actions + dispatch.on_request(
                request,
                position,
                now(),
                size_bytes=len(record.value),
                traceparent=traceparent_of(record.headers),
            )
        stand_in = stand_in_of(record, self.model, self.lanes[record.topic])
        if stand_in is None:
            dispatch.skip(position)
            return []
        return dispatch.on_unreadable(stand_in, position, now())
