"""A model replica: takes work from its inbox, lets the engine generate, publishes what
comes, and beats.

A replica is known by an id of this incarnation, reads the inbox partition that the id
hashes to, and ignores work that is stamped for another, or that an overtaken dispatcher
sends.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from uuid import uuid4

import structlog

from schemas.base import Running
from schemas.envelope import traceparent_of
from schemas.errors import ErrorCode
from schemas.inference import (
    WORK,
    InferenceRequested,
    ReplicaBeat,
    ReplyBeat,
    ReplyChunk,
    RequestFinished,
    WorkAssigned,
    WorkCancelled,
)
from schemas.topics import REPLIES, STATUS_TOPIC, WORK_TOPIC, inbox_partition
from services.common.bus import MessageReader, Outgoing, Producer, Record, Tail
from services.common.errors import RecordTooLargeError
from services.common.process.telemetry import span
from services.common.requests.model_catalogue import ModelConfig
from services.inference.domain.replicas import AttemptKey
from services.inference.domain.unreadable import unreadable_attempt
from services.inference.engines.base import Engine
from services.inference.replica.generation import Generation

log = structlog.get_logger(__name__)

BEAT_S = 0.25
REPLY_BEAT_S = 0.5
_RATE_WINDOW_S = 5.0


@dataclass
class Replica:
    """One engine behind one inbox."""

    url: str = field(repr=False)
    model: ModelConfig
    engine: Engine
    replica_id: str = ""
    draining: bool = False
    waiting: int = 0
    _running: dict[AttemptKey, "asyncio.Task[None]"] = field(default_factory=dict)
    _generations: dict[AttemptKey, Generation] = field(default_factory=dict)
    _epoch: int = 0
    _tokens: deque[tuple[float, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.replica_id = self.replica_id or f"{self.model.name}#{uuid4().hex[:12]}"
        self._out = Producer(url=self.url, name=f"replica/{self.replica_id}")
        self._work = Tail(url=self.url, name=self.replica_id, topic=WORK_TOPIC.name)
        self._messages = MessageReader(WORK, WORK_TOPIC.name)
        self._inbox = -1
        self._position = 0

    @property
    def running(self) -> int:
        """Attempts that are being generated."""
        return len(self._running)

    async def start(self) -> None:
        """Loads the model and takes up its inbox; from the first beat on it is given
        work.
        """
        await self.engine.start()
        await self._out.start()
        self._inbox = inbox_partition(self.replica_id, await self._out.partitions(WORK_TOPIC.name))
        await self._work.start([self._inbox])
        self._position = await self._work.position(WORK_TOPIC.name, self._inbox)

    async def run(self) -> None:
        """Works until cancelled.

        Raises:
            ExceptionGroup: of TocsinError: the bus failed.
        """
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._read_inbox())
            loops.create_task(self._beat())

    async def drain(self, timeout_s: float) -> None:
        """Takes nothing new and finishes what runs, for at most `timeout_s`."""
        self.draining = True
        await self._send_beat()
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=timeout_s)

    async def close(self) -> None:
        """Stops generating and lets go of the model."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._work.close()
        await self._out.close()
        await self.engine.close()

    async def _read_inbox(self) -> None:
        own_key = self.replica_id.encode()
        while True:
            for record in await self._work.poll(timeout_s=1.0):
                if record.key == own_key:
                    await self._on_work(record)
                self._position = record.offset + 1

    async def _on_work(self, record: Record) -> None:
        work = self._messages.read(record)
        if work is None:
            await self._end_unreadable(record)
            return
        if work.epoch < self._epoch:
            log.warning("work_of_overtaken_dispatcher", epoch=work.epoch, newest=self._epoch)
            return
        self._epoch = work.epoch
        if isinstance(work, WorkAssigned):
            self.waiting = work.waiting
            trace = traceparent_of(record.headers)
            self._begin(work.request, trace)
        else:
            self._cancel(work)

    def _begin(self, request: InferenceRequested, trace: str | None) -> None:
        key = (request.request_id, request.attempt)
        if key in self._running:
            return
        partition = request.reply_to.partition

        async def publish(reply: ReplyChunk | ReplyBeat) -> None:
            if isinstance(reply, ReplyChunk):
                self._tokens.append((time.monotonic(), sum(piece.tokens for piece in reply.pieces)))
            await self._out.send_soon(
                Outgoing(
                    REPLIES.name,
                    reply,
                    subject=request.request_id,
                    tenant=request.tenant,
                    partition=partition,
                    traceparent=trace,
                )
            )

        generation = Generation(request, self.replica_id, self.model.name, publish)
        self._generations[key] = generation
        self._running[key] = asyncio.get_running_loop().create_task(self._generate(key, generation, trace))
        self._running[key].add_done_callback(lambda task: self._let_go(key, task))

    async def _generate(self, key: AttemptKey, generation: Generation, trace: str | None) -> None:
        with span(
            "tocsin.generate",
            trace,
            {"gen_ai.request.model": self.model.name, "tocsin.request_id": key[0]},
        ):
            finished = await generation.run(self.engine)
        await self._send_status(finished)

    def _let_go(self, key: AttemptKey, task: "asyncio.Task[None]") -> None:
        """The slot is free, however the task ended, and even if it never began."""
        del self._running[key], self._generations[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("attempt_lost", request_id=key[0], attempt=key[1], error=repr(error))

    async def _end_unreadable(self, record: Record) -> None:
        """An assignment that this version cannot read fails its request; other records
        are passed over.
        """
        finished = unreadable_attempt(record.value, self.replica_id, self.model.name)
        if finished is not None:
            await self._send_status(finished)

    def _cancel(self, work: WorkCancelled) -> None:
        key = (work.request_id, work.attempt)
        if key in self._generations:
            self._generations[key].cancel(cut_off=work.reason == ErrorCode.CONTENT_FILTER)

    async def _beat(self) -> None:
        while True:
            await self._send_beat()
            for generation in list(self._generations.values()):
                await generation.beat(REPLY_BEAT_S)
            await asyncio.sleep(BEAT_S)

    async def _send_beat(self) -> None:
        await self._send_status(
            ReplicaBeat(
                replica_id=self.replica_id,
                model=self.model.name,
                host=socket.gethostname(),
                pid=os.getpid(),
                inbox=self._inbox,
                inbox_position=self._position,
                slots=self.model.slots,
                tokens_per_s=self._rate(),
                draining=self.draining,
                running=tuple(
                    Running(
                        request_id=request_id,
                        attempt=attempt,
                        tokens=generation.tokens,
                        prompt_tokens=generation.prompt_tokens,
                    )
                    for (request_id, attempt), generation in self._generations.items()
                ),
            )
        )

    async def _send_status(self, status: ReplicaBeat | RequestFinished) -> None:
        with contextlib.suppress(RuntimeError):
            try:
                await self._out.send_soon(self._status_record(status))
            except RecordTooLargeError:
                if isinstance(status, ReplicaBeat):
                    raise
                await self._out.send_soon(self._status_record(_without_text(status)))

    def _status_record(self, status: ReplicaBeat | RequestFinished) -> Outgoing:
        return Outgoing(STATUS_TOPIC.name, status, subject=self.replica_id, tenant="")

    def _rate(self) -> float:
        now_s = time.monotonic()
        while self._tokens and now_s - self._tokens[0][0] > _RATE_WINDOW_S:
            self._tokens.popleft()
        return sum(count for _, count in self._tokens) / _RATE_WINDOW_S


def _without_text(finished: RequestFinished) -> RequestFinished:
    """The same end, where the text does not fit into a record."""
    log.error("text_not_reported", request_id=finished.request_id, attempt=finished.attempt)
    return finished.model_copy(
        update={"choices": tuple(choice.model_copy(update={"text": ""}) for choice in finished.choices)}
    )
