"""The inference side in a test's own process: dispatchers and replicas without Ray, and
a client that follows streams as a gateway does.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from schemas.base import Message
from schemas.inference import (
    REPLY,
    CancelRequested,
    Delivered,
    End,
    InferenceCompleted,
    InferenceRequested,
    Lane,
    LogPosition,
    Outcome,
    ReplyChunk,
    ReplyEnded,
    ReplyTo,
    RetryNeeded,
    Sampling,
    Usage,
)
from schemas.topics import COMMANDS, COMPLETED, REPLIES, inbox_partition, requests_topic
from services.common.bus import Outgoing, Producer, Start, Tail
from services.common.bus.administration.admin import provision
from services.common.bus.consumers.consumer import written_ends
from services.common.clock import utc_now
from services.common.requests.model_catalogue import ModelConfig
from services.inference.dispatcher.dispatcher import Dispatcher
from services.inference.domain.dispatch import DispatchRules
from services.inference.engines import create_engine
from services.inference.replica.replica import Replica

SCALE = 0.1


def scripted_model(*, tokens_per_s: float = 0.0, slots: int = 4, **fields: object) -> ModelConfig:
    """A scripted model under a name of its own, so that tests on one broker share no
    lane.
    """
    return ModelConfig.model_validate(
        {
            "name": f"scripted-{uuid4().hex[:8]}",
            "engine": "scripted",
            "options": {"tokens_per_s": tokens_per_s},
            "slots": slots,
            "context_length": 4096,
        }
        | fields
    )


@dataclass
class RunningPart:
    """A dispatcher or a replica that can be stopped in order or die."""

    part: Dispatcher | Replica
    task: "asyncio.Task[None]"

    async def die(self) -> None:
        """Stops dead: nothing is finished, committed or said."""
        self.task.cancel()
        if isinstance(self.part, Replica):
            for generation in self.part._running.values():
                generation.cancel()
            await self.part._work.close()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@dataclass
class Stage:
    """A model's dispatchers and replicas on a broker."""

    url: str
    model: ModelConfig
    parts: list[RunningPart] = field(default_factory=list)

    async def add_dispatcher(self, rules: DispatchRules | None = None) -> RunningPart:
        """Starts a dispatcher."""
        wanted = rules or DispatchRules(model=self.model.name, price_at=lambda _: self.model.price)
        dispatcher = Dispatcher(
            url=self.url, dispatcher_id=f"{self.model.name}@{uuid4().hex[:6]}", model=self.model, rules=wanted
        )
        return self._run(dispatcher)

    async def add_replica(self) -> RunningPart:
        """Starts a replica."""
        replica = Replica(self.url, self.model, create_engine(self.model))
        await replica.start()
        return self._run(replica)

    async def close(self) -> None:
        """Stops whatever still runs."""
        for running in self.parts:
            if isinstance(running.part, Dispatcher) and not running.task.done():
                await running.part.close()
            running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)
            if isinstance(running.part, Replica):
                await running.part.close()
            else:
                await running.part.texts.close()

    def _run(self, part: Dispatcher | Replica) -> RunningPart:
        running = RunningPart(part, asyncio.create_task(part.run()))
        self.parts.append(running)
        return running


@contextlib.asynccontextmanager
async def stage(url: str, model: ModelConfig) -> AsyncIterator[Stage]:
    """A model's topics, and whatever is started on them."""
    await provision(url, [model], SCALE)
    running = Stage(url, model)
    try:
        yield running
    finally:
        await running.close()


@dataclass
class Followed:
    """What a client has of one request."""

    request: InferenceRequested
    text: str = ""
    tokens: int = 0
    finish_reason: str | None = None
    outcome: Outcome | None = None
    usage: Usage = field(default_factory=Usage)
    """As the end tells it."""
    next_seq: int = 0
    attempts_heard: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)
    grew: asyncio.Event = field(default_factory=asyncio.Event)


class Client:
    """Asks and follows; answers a dead replica with the next attempt, as a gateway
    does.
    """

    def __init__(self, url: str, model: ModelConfig) -> None:
        self.url, self.model = url, model
        self.id = f"client-{uuid4().hex[:8]}"
        self._out = Producer(url=url, name=self.id)
        self._replies = Tail(url=url, name=self.id, topic=REPLIES.name)
        self.followed: dict[str, Followed] = {}

    async def __aenter__(self) -> "Client":
        await self._out.start()
        self._partition = inbox_partition(self.id, await self._out.partitions(REPLIES.name))
        await self._replies.start([self._partition])
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._replies.close()
        await self._out.close()

    async def ask(
        self,
        prompt: str,
        *,
        max_tokens: int = 16,
        seed: int = 1,
        tenant: str = "acme",
        deadline_s: float = 60,
        lane: Lane = Lane.INTERACTIVE,
        share: float | None = None,
        encoded: bytes | None = None,
    ) -> Followed:
        """Publishes a request, or other bytes under its key."""
        request = InferenceRequested(
            request_id=f"chatcmpl-{uuid4().hex}",
            kind="completion",
            model=self.model.name,
            lane=lane,
            tenant=tenant,
            key_id="test",
            prompt=prompt,
            share=share,
            sampling=Sampling(max_tokens=max_tokens, seed=seed),
            stream=True,
            reply_to=ReplyTo(partition=self._partition, gateway_id=self.id),
            requested_at=utc_now(),
            deadline=utc_now() + timedelta(seconds=deadline_s),
        )
        followed = self.followed[request.request_id] = Followed(request)
        await self._publish(request, encoded)
        return followed

    async def put(self, topic: str, message: Message, value: bytes, *, key: str, partition: int) -> None:
        """Puts any bytes on the bus."""
        await self._out.send(
            Outgoing(topic, message, subject=key, tenant="", partition=partition, encoded=value)
        )

    async def cancel(self, followed: Followed) -> None:
        """Takes a request back."""
        request = followed.request
        command = CancelRequested(
            request_id=request.request_id, model=request.model, tenant=request.tenant, reason="test"
        )
        await self._out.send(
            Outgoing(COMMANDS.name, command, subject=request.request_id, tenant=request.tenant)
        )

    async def _publish(self, request: InferenceRequested, encoded: bytes | None = None) -> LogPosition:
        return await self._out.send(
            Outgoing(
                requests_topic(request.model, request.lane),
                request,
                subject=request.request_id,
                tenant=request.tenant,
                encoded=encoded,
            )
        )

    async def _follow(self) -> None:
        while True:
            for record in await self._replies.poll(timeout_s=1.0):
                followed = self.followed.get(record.key.decode())
                if followed is not None and followed.outcome is None:
                    await self._take(followed, REPLY.validate_json(record.value))

    async def _take(self, followed: Followed, reply: object) -> None:
        if isinstance(reply, ReplyChunk) and reply.attempt == followed.request.attempt:
            assert reply.seq == followed.next_seq
            followed.next_seq += 1
            for piece in reply.pieces:
                followed.text += piece.text
                followed.tokens += piece.tokens
                followed.finish_reason = piece.finish_reason or followed.finish_reason
            followed.grew.set()
            if reply.end is not None:
                self._finish(followed, reply.end)
        elif isinstance(reply, ReplyEnded):
            self._finish(followed, reply.end)
        elif isinstance(reply, RetryNeeded) and reply.attempt == followed.request.attempt:
            delivered = Delivered(
                text=followed.text, tokens=followed.tokens, finish_reason=followed.finish_reason
            )
            followed.request = followed.request.model_copy(
                update={"attempt": reply.attempt + 1, "delivered": (delivered,), "previous": reply.origin}
            )
            followed.next_seq = 0
            await self._publish(followed.request)

    @staticmethod
    def _finish(followed: Followed, end: End) -> None:
        followed.outcome, followed.usage = end.outcome, end.usage
        followed.done.set()
        followed.grew.set()


async def completed_events(
    url: str, model: str, expected: int, *, timeout_s: float = 20.0
) -> list[InferenceCompleted]:
    """The ends of a model's requests, as a consumer that reads committed records sees
    them, once `expected` came and the topic's end is reached.
    """
    tail = Tail(url=url, name="completed-events", topic=COMPLETED.name, committed_only=True)
    await tail.start(start=Start.BEGINNING)
    found: list[InferenceCompleted] = []
    try:
        async with asyncio.timeout(timeout_s):
            while len(found) < expected:
                found += [
                    event
                    for record in await tail.poll(timeout_s=0.2)
                    if (event := InferenceCompleted.model_validate_json(record.value)).model == model
                ]
            ends = await written_ends(Tail(url=url, name="completed-ends", topic=COMPLETED.name))
            async for records in tail.read_to_end(ends, poll_s=0.05):
                found += [
                    event
                    for record in records
                    if (event := InferenceCompleted.model_validate_json(record.value)).model == model
                ]
    finally:
        await tail.close()
    return found
