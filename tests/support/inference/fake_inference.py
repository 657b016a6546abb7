"""The inference side as a small coroutine: reads lanes, answers with words that depend
on the prompt alone, and can die in the middle.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from schemas.base import Message
from schemas.inference import (
    CancelRequested,
    Delivered,
    End,
    InferenceRequested,
    Lane,
    LogPosition,
    Outcome,
    Piece,
    QueueStatus,
    ReplyBeat,
    ReplyChunk,
    ReplyEnded,
    RetryNeeded,
    Usage,
)
from schemas.topics import COMMANDS, REPLIES, STATUS_TOPIC, requests_topic
from services.common.bus import Producer, Start, Tail
from services.common.bus.coordinates import position_of
from services.common.bus.producers.producer import Outgoing


def words_of(prompt: str, choice: int, count: int) -> list[str]:
    """The answer to a prompt, word by word."""
    return [f"{prompt[:8]}{choice}.{number} " for number in range(count)]


@dataclass
class FakeInference:
    """Serves one model.

    `die_after` names how many words an attempt gives before its replica dies;
    `on_death` says how that is noticed.
    """

    url: str
    model: str
    words: int = 20
    words_a_chunk: int = 3
    die_after: dict[int, int] = field(default_factory=dict)
    announce_death: bool = True
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Closed, it holds every stream from its chunk number `held_from` on."""
    held_from: int = 0
    mute: bool = False
    """Takes requests and says nothing."""
    asked: list[InferenceRequested] = field(default_factory=list)
    cancelled: list[CancelRequested] = field(default_factory=list)
    beats: int = 0
    """How many it has given, of all requests together."""
    prepare_end: Callable[[InferenceRequested, End], End] = lambda _request, end: end
    _answering: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _seen: set[tuple[str, int]] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.producer = Producer(self.url, "fake-inference", timeout_s=60.0)

    @contextlib.asynccontextmanager
    async def running(
        self, lanes: Sequence[Lane] = (Lane.INTERACTIVE, Lane.BATCH)
    ) -> AsyncIterator["FakeInference"]:
        """Serves while the context lasts."""
        tails = [Tail(self.url, "fake-lane", topic=requests_topic(self.model, lane)) for lane in lanes]
        commands = Tail(self.url, "fake-commands", topic=COMMANDS.name)
        await self.producer.start()
        for tail in [*tails, commands]:
            await tail.start([0], Start.END)
        tasks = [asyncio.create_task(self._serve(tail)) for tail in tails] + [
            asyncio.create_task(self._obey(commands))
        ]
        try:
            yield self
        finally:
            tasks += self._answering.values()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for tail in [*tails, commands]:
                await tail.close()
            await self.producer.close()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Waits for something that this side will see."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def say(self, request: InferenceRequested, message: Message) -> None:
        """Writes into a request's reply partition."""
        await self.producer.send(
            Outgoing(
                topic=REPLIES.name,
                value=message,
                subject=request.request_id,
                tenant=request.tenant,
                partition=request.reply_to.partition,
            )
        )

    async def answer(self, request: InferenceRequested) -> None:
        """Answers a request that was left unanswered."""
        await self._answer(
            request, LogPosition(topic=requests_topic(self.model, request.lane), partition=0, offset=0)
        )

    async def tell_queue(self, positions: dict[str, int], *, eta_ms: float) -> None:
        """Says again and again where requests stand, as a dispatcher does."""
        status = QueueStatus(
            dispatcher_id="fake",
            model=self.model,
            host="h",
            pid=1,
            active=True,
            eta_ms=eta_ms,
            positions=positions,
        )
        while True:
            await self.producer.send(
                Outgoing(topic=STATUS_TOPIC.name, value=status, subject="fake", tenant="")
            )
            await asyncio.sleep(0.25)

    async def _serve(self, tail: Tail) -> None:
        while True:
            for record in await tail.poll(0.2):
                request = InferenceRequested.model_validate_json(record.value)
                self.asked.append(request)
                self._changed.set()
                if (
                    (request.request_id, request.attempt) in self._seen
                    or request.deadline < datetime.now(UTC)
                    or self.mute
                ):
                    continue
                self._seen.add((request.request_id, request.attempt))
                origin = position_of(record)
                self._answering[request.request_id] = asyncio.create_task(self._answer(request, origin))

    async def _obey(self, commands: Tail) -> None:
        while True:
            for record in await commands.poll(0.2):
                cancel = CancelRequested.model_validate_json(record.value)
                if cancel.model != self.model:
                    continue
                self.cancelled.append(cancel)
                self._changed.set()
                task = self._answering.pop(cancel.request_id, None)
                request = next((one for one in self.asked if one.request_id == cancel.request_id), None)
                if task is not None and request is not None and not task.done():
                    task.cancel()
                    end = End(outcome=Outcome.CANCELLED)
                    await self.say(
                        request,
                        ReplyEnded(
                            request_id=cancel.request_id,
                            tenant=cancel.tenant,
                            attempt=request.attempt,
                            end=end,
                        ),
                    )

    async def _answer(self, request: InferenceRequested, origin: LogPosition) -> None:
        replica, given = f"replica-{request.attempt}", 0
        choices = [self._rest(request, index) for index in range(request.sampling.n)]
        total = len(choices[0])
        dies_after = self.die_after.get(request.attempt)
        for seq, start in enumerate(range(0, max(1, total), self.words_a_chunk)):
            stop = min(start + self.words_a_chunk, total)
            if dies_after is not None and given >= dies_after:
                await self._die(request, origin)
                return
            pieces = tuple(self._piece(index, words, start, stop) for index, words in enumerate(choices))
            given = stop
            end = self._end(request) if stop == total else None
            chunk = ReplyChunk(
                request_id=request.request_id,
                tenant=request.tenant,
                attempt=request.attempt,
                replica_id=replica,
                seq=seq,
                pieces=pieces,
                end=end,
            )
            await self.say(request, chunk)
            while seq >= self.held_from and not self.gate.is_set():
                await self.say(
                    request,
                    ReplyBeat(request_id=request.request_id, attempt=request.attempt, replica_id=replica),
                )
                self.beats += 1
                self._changed.set()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.gate.wait(), 0.2)

    async def _die(self, request: InferenceRequested, origin: LogPosition) -> None:
        if self.announce_death:
            needed = RetryNeeded(
                request_id=request.request_id,
                tenant=request.tenant,
                attempt=request.attempt,
                reason="no heartbeat",
                origin=origin,
            )
            await self.say(request, needed)
            await self.say(request, needed)

    def _rest(self, request: InferenceRequested, index: int) -> list[str]:
        words = words_of(self._prompt(request), index, request.sampling.max_tokens or self.words)
        have = request.delivered[index] if request.delivered else Delivered()
        assert "".join(words).startswith(have.text)
        return words[have.tokens :]

    def _piece(self, index: int, words: list[str], start: int, stop: int) -> Piece:
        finish = "stop" if stop == len(words) else None
        return Piece(index=index, text="".join(words[start:stop]), tokens=stop - start, finish_reason=finish)

    def _end(self, request: InferenceRequested) -> End:
        tokens = (request.sampling.max_tokens or self.words) * request.sampling.n
        return self.prepare_end(
            request, End(outcome=Outcome.COMPLETED, usage=Usage(prompt_tokens=7, completion_tokens=tokens))
        )

    @staticmethod
    def _prompt(request: InferenceRequested) -> str:
        return request.prompt or str(request.messages[-1].get("content", ""))
