"""Jobs that wait for a worker: bounded in number and bytes, tenants in turn."""

import asyncio
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

_SHARE = 2
"""A tenant may fill a half of the queue: beside any flood there is room for others."""


@dataclass(slots=True, eq=False)
class Job:
    """What a worker shall do, and who waits for it. `urgent` ones go before all others.

    The result is None where nobody could do it.
    """

    message: dict[str, Any]
    tenant: str
    size_bytes: int
    result: "asyncio.Future[list[Any] | None]"
    urgent: bool = False


@dataclass
class FairQueue:
    """At most `jobs` of `size_bytes` together, a tenant at most half of either."""

    jobs: int
    size_bytes: int
    _taken_jobs: int = field(default=0, init=False)
    _taken_bytes: int = field(default=0, init=False)
    _of_tenant: "Counter[str]" = field(default_factory=Counter, init=False)
    _bytes_of_tenant: "Counter[str]" = field(default_factory=Counter, init=False)
    _lanes: "tuple[OrderedDict[str, deque[Job]], OrderedDict[str, deque[Job]]]" = field(
        default_factory=lambda: (OrderedDict(), OrderedDict()), init=False
    )
    _filled: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def __len__(self) -> int:
        return self._taken_jobs

    def put(self, job: Job) -> bool:
        """Takes a job; False where there is no room for it."""
        tenant = job.tenant
        if (
            self._taken_jobs >= self.jobs
            or self._taken_bytes + job.size_bytes > self.size_bytes
            or self._of_tenant[tenant] * _SHARE >= self.jobs
            or (self._bytes_of_tenant[tenant] + job.size_bytes) * _SHARE > self.size_bytes
        ):
            return False
        self._count(job, 1)
        self._lane(job).setdefault(tenant, deque()).append(job)
        self._filled.set()
        return True

    async def take(self) -> Job:
        """The next job: of the tenant whose turn it is."""
        while not self._taken_jobs:
            self._filled.clear()
            await self._filled.wait()
        lane = self._lanes[0] or self._lanes[1]
        tenant, waiting = next(iter(lane.items()))
        job = waiting.popleft()
        lane.move_to_end(tenant)
        self._removed(job)
        return job

    def discard(self, job: Job) -> None:
        """Nobody waits for a job any more."""
        waiting = self._lane(job).get(job.tenant)
        if waiting is not None and job in waiting:
            waiting.remove(job)
            self._removed(job)

    def _lane(self, job: Job) -> "OrderedDict[str, deque[Job]]":
        return self._lanes[0 if job.urgent else 1]

    def _removed(self, job: Job) -> None:
        self._count(job, -1)
        lane = self._lane(job)
        if not lane[job.tenant]:
            del lane[job.tenant]

    def _count(self, job: Job, by: int) -> None:
        self._taken_jobs += by
        self._taken_bytes += by * job.size_bytes
        self._of_tenant[job.tenant] += by
        self._bytes_of_tenant[job.tenant] += by * job.size_bytes
        if not self._of_tenant[job.tenant]:
            del self._of_tenant[job.tenant], self._bytes_of_tenant[job.tenant]
