"""Taking a model's lanes over: from the log alone to a dispatch that can serve.

The order matters: the predecessor is fenced when the connections are open, and nothing
pending is read before that.
"""

import time
from collections.abc import Sequence

import structlog

from schemas.topics import COMMANDS, STATUS_TOPIC, WORK_TOPIC
from services.common.bus import TopicPartition
from services.common.bus.administration.admin import committed_offsets
from services.common.errors import BusUnavailableError
from services.inference.dispatcher.bus_adapter import BusAdapter
from services.inference.dispatcher.connections import Connections
from services.inference.domain.dispatch import Dispatch, DispatchRules, Takeover
from services.inference.domain.offsets import OffsetTracker

log = structlog.get_logger(__name__)

_REPLAY_MARGIN_MS = 2_000
_STALL_S = 60.0


async def take_over(
    url: str,
    connections: Connections,
    places: Sequence[TopicPartition],
    rules: DispatchRules,
    adapter: BusAdapter,
) -> Dispatch:
    """What is pending in the lanes and what runs, as the log tells.

    Raises:
        BusUnavailableError: the log could not be read.
    """
    inboxes = range(await connections.out.partitions(WORK_TOPIC.name))
    trackers = await _restore_trackers(url, connections, places)
    barrier = await connections.queries.end_offsets(WORK_TOPIC.name, inboxes)
    dispatch = Dispatch(rules, trackers, Takeover(barrier, time.monotonic()))
    oldest_ms = await _read_pending(connections, places, dispatch, adapter)
    await replay(connections, dispatch, adapter, oldest_ms - _REPLAY_MARGIN_MS)
    return dispatch


async def replay(connections: Connections, dispatch: Dispatch, adapter: BusAdapter, since_ms: int) -> None:
    """Reads what was said of the pending requests.

    Who was refused is known before any end is priced: the commands are read for that
    first, and from the same place again once the takeover is done, when a cancellation
    finds what runs and what is over.
    """
    starts = {
        tail.topic: (await connections.queries.offsets_at(tail.topic, [0], since_ms))[0]
        for tail in (connections.status, connections.commands)
    }
    connections.commands.seek(COMMANDS.name, 0, starts[COMMANDS.name])
    commands_end = (await connections.queries.end_offsets(COMMANDS.name, [0]))[0]
    async for records in connections.commands.read_to_end({0: commands_end}):
        adapter.on_refusals(dispatch, records)
    connections.commands.seek(COMMANDS.name, 0, starts[COMMANDS.name])
    connections.status.seek(STATUS_TOPIC.name, 0, starts[STATUS_TOPIC.name])
    end = (await connections.queries.end_offsets(STATUS_TOPIC.name, [0]))[0]
    async for records in connections.status.read_to_end({0: end}):
        await adapter.on_status(dispatch, records, end)


async def _restore_trackers(
    url: str, connections: Connections, places: Sequence[TopicPartition]
) -> dict[str, OffsetTracker]:
    committed = await committed_offsets(url, connections.lanes.group)
    trackers = {}
    for place in places:
        start = (await connections.queries.beginning_offsets(place.topic, [place.partition]))[place.partition]
        known = committed.get(place)
        tracker = OffsetTracker.restore(known.offset, known.note) if known else OffsetTracker(start)
        gone = tracker.forget_before(start)
        if gone:
            log.error("requests_lost_to_retention", topic=place.topic, count=gone)
        connections.lanes.seek(place.topic, place.partition, max(start, known.offset if known else start))
        trackers[place.topic] = tracker
    return trackers


async def _read_pending(
    connections: Connections, places: Sequence[TopicPartition], dispatch: Dispatch, adapter: BusAdapter
) -> int:
    """Reads each lane to its present end or as far as there is room; returns when the
    oldest pending request came, in Unix milliseconds.
    """
    oldest_ms = int(time.time() * 1000)
    ends = {
        place: (await connections.queries.end_offsets(place.topic, [place.partition]))[place.partition]
        for place in places
    }
    heard_s = time.monotonic()
    while True:
        behind = [place for place in places if await connections.lanes.position(*place) < ends[place]]
        if not any(dispatch.has_room(place.topic) for place in behind):
            dispatch.takeover.note_lanes(read=not behind)
            return oldest_ms
        connections.lanes.read_only(place for place in places if dispatch.has_room(place.topic))
        records = await connections.lanes.poll(timeout_s=1.0, max_records=200)
        if records:
            heard_s = time.monotonic()
        elif time.monotonic() - heard_s > _STALL_S:
            raise BusUnavailableError(f"the lanes could not be read: nothing came for {_STALL_S:g} s")
        oldest_ms = min([oldest_ms, *(record.timestamp for record in records)])
        await adapter.on_lanes(dispatch, records)
