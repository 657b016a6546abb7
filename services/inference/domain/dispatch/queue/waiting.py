"""The requests that wait for a slot: who is next, and which of their records are held."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from schemas.inference import InferenceRequested, LogPosition
from services.inference.domain.dispatch.queue.backlog import LaneBacklog
from services.inference.domain.dispatch.queue.fair_queue import FairQueue
from services.inference.domain.dispatch.rules import ReadAhead
from services.inference.domain.dispatch.tracked import Tracked


@dataclass
class Waiting:
    """Waiting requests of all lanes, held or deferred; `tracked` is the dispatcher's
    table of all its requests.
    """

    limits: ReadAhead
    topics: Iterable[str]
    tracked: dict[str, Tracked]
    queue: FairQueue = field(default_factory=FairQueue)
    backlogs: dict[str, LaneBacklog] = field(init=False)
    _deadlines: list[tuple[datetime, str]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.backlogs = {topic: LaneBacklog(self.limits) for topic in self.topics}

    def add(self, tracked: Tracked) -> None:
        """A request waits from now on.

        A further attempt is always held: it is served next.
        """
        retry = tracked.attempt > 1
        self.queue.push(tracked.request_id, lane=tracked.lane, tenant=tracked.tenant, retry=retry)
        backlog = self._backlog_of(tracked)
        if retry or backlog.admits(tracked.tenant, tracked.size_bytes):
            self._hold(tracked)
        else:
            tracked.request = None
            backlog.defer(tracked.tenant, tracked.positions[0].offset, tracked.size_bytes)

    def remove(self, tracked: Tracked) -> None:
        """A request waits no more."""
        self.queue.remove(tracked.request_id)
        self._let_go(tracked)

    def pop(self, passed_over: set[str]) -> Tracked | None:
        """The request to serve next whose record is held; None where there is none.

        `passed_over` cannot be served now.
        """
        request_id = self.queue.pop(
            lambda one: one not in passed_over and self.tracked[one].request is not None
        )
        if request_id is None:
            return None
        tracked = self.tracked[request_id]
        self._let_go(tracked)
        return tracked

    def demand(self, tracked: Tracked) -> None:
        """A deferred record is needed at once."""
        self._backlog_of(tracked).demand(tracked.positions[0].offset)

    def restore(self, request: InferenceRequested, position: LogPosition) -> Tracked | None:
        """A deferred record was read again: its request, if there is still need of it."""
        tracked = self.tracked.get(request.request_id)
        deferred = self.backlogs[position.topic].restore(request.tenant, position.offset)
        if not deferred or tracked is None or tracked.request is not None:
            return None
        tracked.request = request
        if tracked.request_id in self.queue:
            self._hold(tracked)
        return tracked

    def lose(self, position: LogPosition) -> Tracked | None:
        """A deferred record is gone for good: its request, if there is one."""
        for tracked in self.tracked.values():
            if tracked.request is None and tracked.positions[0] == position:
                self.backlogs[position.topic].restore(tracked.tenant, position.offset)
                return tracked
        return None

    def supersede(self, tracked: Tracked) -> None:
        """A further attempt came: the record of the one before is needed no more."""
        self.remove(tracked)
        if tracked.request is None:
            self._backlog_of(tracked).restore(tracked.tenant, tracked.positions[0].offset)

    def watch_deadline(self, tracked: Tracked, at: datetime | None = None) -> None:
        """Names the request in `due` at its deadline, or `at` a later time."""
        heapq.heappush(self._deadlines, (at or tracked.deadline, tracked.request_id))

    def due(self, now: datetime) -> list[Tracked]:
        """The requests whose time has come since the last call."""
        found: dict[str, Tracked] = {}
        while self._deadlines and self._deadlines[0][0] <= now:
            _, request_id = heapq.heappop(self._deadlines)
            tracked = self.tracked.get(request_id)
            if tracked is not None:
                found[request_id] = tracked
        return list(found.values())

    def _hold(self, tracked: Tracked) -> None:
        self._backlog_of(tracked).hold(tracked.tenant, tracked.size_bytes)
        tracked.counted = True

    def _let_go(self, tracked: Tracked) -> None:
        if tracked.counted:
            self._backlog_of(tracked).release(tracked.tenant, tracked.size_bytes)
            tracked.counted = False

    def _backlog_of(self, tracked: Tracked) -> LaneBacklog:
        return self.backlogs[tracked.positions[0].topic]
