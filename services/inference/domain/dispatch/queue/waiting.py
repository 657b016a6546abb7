"""The requests that wait for a slot: who is next, and which of their records are held."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from schemas.inference import InferenceRequested, LogPosition
from services.inference.domain.dispatch.queue.backlog import LaneBacklog
from services.inference.domain.dispatch.queue.deadlines import Deadlines
from services.inference.domain.dispatch.queue.fair_queue import FairQueue
from services.inference.domain.dispatch.rules import ReadAhead
from services.inference.domain.dispatch.tracked import Tracked


@dataclass
class Waiting:
    """Waiting requests of all lanes, held or deferred; `table` has all that have not
    ended, and is only read here.
    """

    limits: ReadAhead
    topics: Iterable[str]
    table: Mapping[str, Tracked]
    queue: FairQueue = field(default_factory=FairQueue)
    backlogs: dict[str, LaneBacklog] = field(init=False)
    _deadlines: Deadlines = field(default_factory=Deadlines, init=False)
    _held: set[str] = field(default_factory=set, init=False)
    """The requests that their lane's read-ahead counts."""

    def __post_init__(self) -> None:
        self.backlogs = {topic: LaneBacklog(self.limits) for topic in self.topics}

    def add(self, tracked: Tracked) -> None:
        """A request waits from now on.

        A further attempt is always held: it is served next.
        """
        retry = tracked.attempt > 1
        share = 1.0 if tracked.request is None else tracked.request.share or 1.0
        self.queue.push(
            tracked.request_id, lane=tracked.lane, tenant=tracked.tenant, retry=retry, share=share
        )
        backlog = self._backlog_of(tracked)
        if retry or backlog.admits(tracked.tenant, tracked.size_bytes):
            self._hold(tracked)
        else:
            tracked.let_go()
            backlog.defer(
                tracked.tenant,
                tracked.positions[0].offset,
                tracked.size_bytes,
                request_id=tracked.request_id,
                known_bytes=tracked.known_bytes,
            )

    def remove(self, tracked: Tracked) -> None:
        """A request waits no more."""
        if tracked.request_id in self._held or tracked.request_id in self.queue:
            self.queue.remove(tracked.request_id)
            self._let_go(tracked)

    def forget(self, tracked: Tracked) -> None:
        """A request has ended."""
        self.remove(tracked)
        self._deadlines.forget(tracked.request_id)

    def pop(self, passed_over: set[str]) -> Tracked | None:
        """The request to serve next whose record is held; None where there is none.

        `passed_over` cannot be served now.
        """
        known = self.table
        request_id = self.queue.pop(lambda one: known[one].request is not None and one not in passed_over)
        if request_id is None:
            return None
        tracked = self.table[request_id]
        self._let_go(tracked)
        return tracked

    def demand(self, tracked: Tracked) -> None:
        """A deferred record is needed at once."""
        self._backlog_of(tracked).demand(tracked.positions[0].offset)

    def restore(self, request: InferenceRequested, position: LogPosition) -> Tracked | None:
        """A deferred record was read again: its request, if there is still need of it."""
        tracked = self.table.get(request.request_id)
        deferred = self.backlogs[position.topic].restore(request.tenant, position.offset)
        if not deferred or tracked is None or tracked.request is not None:
            return None
        tracked.restore(request)
        if tracked.request_id in self.queue:
            self._hold(tracked)
        return tracked

    def lose(self, position: LogPosition) -> Tracked | None:
        """A deferred record is gone for good: its request, if there is one."""
        backlog = self.backlogs[position.topic]
        tracked = self.table.get(backlog.request_at(position.offset) or "")
        if tracked is None or tracked.request is not None:
            return None
        backlog.restore(tracked.tenant, position.offset)
        return tracked

    def supersede(self, tracked: Tracked) -> None:
        """A further attempt came: the record of the one before is needed no more."""
        self.remove(tracked)
        if tracked.request is None:
            self._backlog_of(tracked).restore(tracked.tenant, tracked.positions[0].offset)

    def watch_deadline(self, tracked: Tracked, at: datetime | None = None) -> None:
        """Names the request in `due` at its deadline, or `at` a later time."""
        self._deadlines.watch(tracked.request_id, at or tracked.deadline)

    def due(self, now: datetime) -> list[Tracked]:
        """The requests whose time has come since the last call."""
        return [self.table[request_id] for request_id in self._deadlines.due(now)]

    def _hold(self, tracked: Tracked) -> None:
        self._backlog_of(tracked).hold(tracked.tenant, tracked.size_bytes)
        self._held.add(tracked.request_id)

    def _let_go(self, tracked: Tracked) -> None:
        if tracked.request_id in self._held:
            self._backlog_of(tracked).release(tracked.tenant, tracked.size_bytes)
            self._held.remove(tracked.request_id)

    def _backlog_of(self, tracked: Tracked) -> LaneBacklog:
        return self.backlogs[tracked.positions[0].topic]
