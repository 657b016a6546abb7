"""Workers, kept alive, and the queue before them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from services.common.clock import MonotonicClock
from services.common.process import metrics
from services.common.process.child.child_process import ChildLostError
from services.gateway.admission.inspection.fair_queue import FairQueue, Job
from services.gateway.admission.inspection.process import Worker

log = structlog.get_logger(__name__)

OnRead = Callable[[list[Any]], None]

_JOB_S = 10.0
"""A worker that takes longer over one job is killed: jobs are bounded to some 50 ms."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
_WEIGHT = 0.2
_FADES_S = 0.5
"""How long a job takes is believed half after so long without another: a pool that was
too slow is tried again.
"""


@dataclass
class WorkerPool:
    """`count` workers; none where it is 0."""

    count: int
    start_worker: Callable[[], Awaitable[Worker]]
    queue: FairQueue
    monotonic: MonotonicClock
    has_spare_cpu: Callable[[], bool] = field(default=lambda: True)
    on_change: Callable[[], None] = field(default=lambda: None)
    job_timeout_s: float = _JOB_S
    ready: int = field(default=0, init=False)
    versions: tuple[str, str] = field(default=("", ""), init=False)
    _busy: int = field(default=0, init=False)
    _job_s: float = field(default=0.0, init=False)
    _measured_s: float = field(default=float("-inf"), init=False)
    _has_ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        """Keeps the workers alive, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.count):
                tasks.create_task(self._keep())

    async def wait_until_ready(self, timeout_s: float) -> bool:
        """Whether a worker is there in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._has_ready.wait()
        except TimeoutError:
            return False
        return True

    async def ask(
        self,
        message: dict[str, Any],
        *,
        tenant: str,
        within_s: float,
        urgent: bool,
        on_read: OnRead,
    ) -> bool:
        """Has a job done in time. `on_read` gets what it gives, in time or later.

        One that is not `urgent` is not even queued where it would not be done in time.
        """
        why = self.hopeless(within_s) if not urgent else None if self.count else "off"
        if why is not None:
            metrics.INSPECTION_MISSED.labels(why).inc()
            return False
        size = sum(len(text) * (1 if text.isascii() else 4) for text in message["texts"])
        job = Job(message, tenant, size, asyncio.get_running_loop().create_future(), urgent)
        job.result.add_done_callback(lambda done: _hand_over(done, on_read))
        if not self.queue.put(job):
            metrics.INSPECTION_MISSED.labels("full").inc()
            return False
        metrics.INSPECTION_QUEUED.set(len(self.queue))
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(job.result) is not None
        except TimeoutError:
            metrics.INSPECTION_MISSED.labels("timeout").inc()
            return False
        finally:
            self.queue.discard(job)
            metrics.INSPECTION_QUEUED.set(len(self.queue))

    def hopeless(self, within_s: float) -> str | None:
        """Why a job that is not urgent would not be done in time; None where it may."""
        if not self.count:
            return "off"
        if not self.ready:
            return "away"
        if not self.has_spare_cpu():
            return "no_cpu"
        waiting = (len(self.queue) + self._busy) / self.ready + 1
        age_s = self.monotonic() - self._measured_s
        expected_s = waiting * self._job_s * 0.5 ** (age_s / _FADES_S) if self._job_s else 0.0
        return "busy" if expected_s > within_s else None

    async def _keep(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                worker = await self.start_worker()
            except ChildLostError as error:
                log.warning("inspection_worker_not_started", error=str(error), again_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            began_s = self.monotonic()
            try:
                await self._serve(worker)
            except ChildLostError as error:
                metrics.INSPECTION_WORKERS_LOST.inc()
                log.warning("inspection_worker_lost", error=str(error))
            finally:
                await worker.close()
            lived_long = self.monotonic() - began_s > _LONGEST_PAUSE_S
            pause_s = _FIRST_PAUSE_S if lived_long else min(2 * pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _serve(self, worker: Worker) -> None:
        self.versions = worker.versions
        self._change(1)
        ended = asyncio.create_task(worker.ended())
        try:
            while True:
                job = await self._next_job(ended)
                metrics.INSPECTION_QUEUED.set(len(self.queue))
                if not job.result.done():
                    await self._do(worker, job)
        finally:
            ended.cancel()
            self._change(-1)

    async def _next_job(self, ended: "asyncio.Task[None]") -> Job:
        """The next job, unless the worker ends before there is one.

        Raises:
            ChildLostError: it did.
        """
        taking = asyncio.create_task(self.queue.take())
        try:
            await asyncio.wait((taking, ended), return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                return taking.result()
            raise ChildLostError("the process ended while it had nothing to do")
        finally:
            taking.cancel()

    async def _do(self, worker: Worker, job: Job) -> None:
        began_s, read = self.monotonic(), None
        self._busy += 1
        try:
            async with asyncio.timeout(self.job_timeout_s):
                read = await worker.do(job.message)
            self._learn(job, began_s)
        except TimeoutError as error:
            raise ChildLostError(f"a job took longer than {self.job_timeout_s:g} s") from error
        finally:
            self._busy -= 1
            if not job.result.done():
                job.result.set_result(read)
            if read is None:
                metrics.INSPECTION_MISSED.labels("lost").inc()

    def _learn(self, job: Job, began_s: float) -> None:
        now_s = self.monotonic()
        took_s = now_s - began_s
        if job.message["kind"] == "judge":
            is_fresh = now_s - self._measured_s < 4 * _FADES_S
            self._job_s = self._job_s + _WEIGHT * (took_s - self._job_s) if is_fresh else took_s
            self._measured_s = now_s

    def _change(self, by: int) -> None:
        self.ready += by
        metrics.INSPECTION_WORKERS.set(self.ready)
        (self._has_ready.set if self.ready else self._has_ready.clear)()
        self.on_change()


def _hand_over(done: "asyncio.Future[list[Any] | None]", on_read: OnRead) -> None:
    if not done.cancelled() and (read := done.result()) is not None:
        on_read(read)
