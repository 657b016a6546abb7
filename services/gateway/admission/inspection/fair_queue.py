"""Jobs that wait for a worker: bounded in number and bytes, tenants in turn."""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from services.common.requests.shared_room import SharedRoom


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


class FairQueue:
    """At most `jobs` of `size_bytes` together, a tenant at most as much as is free beside
    it.
    """

    def __init__(self, jobs: int, size_bytes: int) -> None:
        self._jobs, self._bytes = SharedRoom(jobs), SharedRoom(size_bytes)
        self._lanes = OrderedDict[str, deque[Job]](), OrderedDict[str, deque[Job]]()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return self._jobs.taken

    def put(self, job: Job) -> bool:
        """Takes a job; False where there is no room for it."""
        if not (self._jobs.has(job.tenant, 1) and self._bytes.take(job.tenant, job.size_bytes)):
            return False
        self._jobs.take(job.tenant, 1)
        self._lane(job).setdefault(job.tenant, deque()).append(job)
        self._filled.set()
        return True

    async def take(self) -> Job:
        """The next job: of the tenant whose turn it is."""
        while not self._jobs.taken:
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

    def _lane(self, job: Job) -> OrderedDict[str, deque[Job]]:
        return self._lanes[0 if job.urgent else 1]

    def _removed(self, job: Job) -> None:
        self._jobs.give_back(job.tenant, 1)
        self._bytes.give_back(job.tenant, job.size_bytes)
        lane = self._lane(job)
        if not lane[job.tenant]:
            del lane[job.tenant]
