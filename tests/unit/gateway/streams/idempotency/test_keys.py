"""Claims over a log that is in memory: who wins, what is kept, what a silent log means."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from schemas.events.gateways.idempotency import AnswerKept, KeyReleased, KeySettled
from schemas.inference import End, ErrorDetail, InferenceRequested, Lane, Outcome, Piece, ReplyTo, Usage
from services.common.bus import Outgoing
from services.common.errors import BusUnavailableError
from services.common.http.problems import ProblemError
from services.gateway.streams.idempotency.claims import Claims
from services.gateway.streams.idempotency.keys import IdempotencyKeys
from services.gateway.streams.idempotency.recording import Recorder, replayed
from services.gateway.streams.idempotency.sealing import Asked

NOW = datetime(2026, 11, 27, tzinfo=UTC)
ASKED = Asked(("acme", "key00001"), "k", b"question")
LOGPROB = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


class Written(NamedTuple):
    """A record."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    timestamp: int


@dataclass
class Log:
    """Producer, tail and scans of one log."""

    mute: bool = False
    away: bool = False
    records: list[Written] = field(default_factory=list)
    _read: int = 0
    _grew: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, record: Outgoing) -> None:
        """Appends."""
        if self.away:
            raise BusUnavailableError("away")
        assert record.value is not None
        written = Written(
            record.topic,
            record.partition or 0,
            len(self.records),
            record.subject.encode(),
            record.value.encode(),
            5,
        )
        self.records.append(written)
        self._grew.set()

    async def partitions(self, topic: str) -> int:
        """Two."""
        assert topic
        return 2

    async def poll(self) -> list[Written]:
        """What is new of the claims, unless it is mute."""
        while self.mute or self._read == len(self.records):
            self._grew.clear()
            await self._grew.wait()
        found, self._read = self.records[self._read :], len(self.records)
        return [one for one in found if "claims" in one.topic]

    async def close(self) -> None:
        """Nothing."""

    def of(self, topic: str, partition: int) -> "Scan":
        """A scan."""
        return Scan([one for one in self.records if (one.topic, one.partition) == (topic, partition)])

    def kinds(self, kind: type) -> list[Any]:
        """What was written of a kind."""
        found = []
        for one in self.records:
            with_kind = f'"kind":"{kind.__name__.removeprefix("Key").lower()}"'.encode()
            if with_kind in one.value:
                found.append(kind.model_validate_json(one.value))  # type: ignore[attr-defined]
        return found


@dataclass
class Scan:
    """Finds records by their key."""

    records: list[Written]

    async def records_of(self, key: bytes, *_: object, **__: object) -> list[Written]:
        """Those of a key."""
        return [one for one in self.records if one.key == key]


@pytest.fixture
async def log() -> Log:
    """An empty log."""
    return Log()


@pytest.fixture
async def keys(log: Log) -> AsyncIterator[IdempotencyKeys]:
    """A gateway's keys, followed."""
    made: Any = IdempotencyKeys
    keys: IdempotencyKeys = made(log, log, log, b"pepper", lambda: 5, Claims(10), claim_timeout_s=0.2)
    running = asyncio.create_task(keys.run())
    yield keys
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await keys.close()


def request(n: int = 1) -> InferenceRequested:
    """What is asked."""
    base = InferenceRequested(
        request_id="chatcmpl-1",
        kind="chat",
        model="m",
        lane=Lane.INTERACTIVE,
        tenant="acme",
        key_id="key00001",
        messages=({"role": "user", "content": "secret"},),
        reply_to=ReplyTo(partition=0, gateway_id="g"),
        requested_at=NOW,
        deadline=NOW,
    )
    return base.model_copy(update={"sampling": base.sampling.model_copy(update={"n": n})})


class Stream:
    """A reply stream's listening side."""

    def __init__(self) -> None:
        self.request = request()
        self.hear: Any = None

    def listen(self, listener: Any) -> None:
        """Takes the listener."""
        self.hear = listener


async def until(condition: Any) -> None:
    """Waits for tasks that nothing announces."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  what is looked at has no event
            await asyncio.sleep(0)


async def test_first_claim_wins_and_the_second_finds_it(keys: IdempotencyKeys, log: Log) -> None:
    """Both published before either was read back: the log's order decides."""
    first, second = await asyncio.gather(keys.claim(ASKED, ["r1"], "acme"), keys.claim(ASKED, ["r2"], "acme"))
    assert (first.won, second.won) == (True, False)
    assert second.claim.request_ids == ("r1",)
    await keys.release(first)
    assert (await keys.claim(ASKED, ["r3"], "acme")).won
    assert all(word not in one.value for one in log.records for word in (b"question", b'"k"'))


@pytest.mark.parametrize("how", ["mute", "away"])
async def test_log_that_does_not_answer_begins_nothing(keys: IdempotencyKeys, log: Log, how: str) -> None:
    """503; the claim, should it have arrived, is taken back."""
    setattr(log, how, True)
    with pytest.raises(ProblemError) as refused:
        await keys.claim(ASKED, ["r1"], "acme")
    assert refused.value.problem.status == 503
    setattr(log, how, False)
    log._grew.set()
    assert (await keys.claim(ASKED, ["r2"], "acme")).won


async def test_completion_is_sealed_and_settled_once(keys: IdempotencyKeys, log: Log) -> None:
    """Its caller reads it, another body does not, and it cannot be released."""
    held = await keys.claim(ASKED, ["chatcmpl-1"], "acme")
    stream: Any = Stream()
    keys.record(ASKED, held, [stream])
    stream.hear((Piece(text="secret ans", tokens=2),), None)
    end = End(outcome=Outcome.COMPLETED, usage=Usage(completion_tokens=3))
    stream.hear((Piece(text="wer", tokens=1, finish_reason="stop"),), end)
    await until(lambda: log.kinds(KeySettled))
    await until(lambda: keys.claims.held[0].answered_at_ms is not None)
    claim = keys.claims.held[0]
    (answer,) = await keys.answer_of(ASKED, claim, "acme") or ()
    assert (answer.pieces[0].text, answer.end.usage.completion_tokens) == ("secret answer", 3)
    assert answer.request.messages == ()
    other = Asked(ASKED.caller, ASKED.key, b"other")
    assert await keys.answer_of(other, claim, "acme") is None
    kept = [one for one in log.records if "answers" in one.topic]
    assert AnswerKept.model_validate_json(kept[0].value).answer_id == claim.answer_id
    assert b"secret" not in b"".join(one.value for one in log.records)
    await keys.release(held)
    assert keys.claims.held == [claim]


async def test_failure_releases_the_key(keys: IdempotencyKeys, log: Log) -> None:
    """Nothing is kept of it."""
    held = await keys.claim(ASKED, ["chatcmpl-1"], "acme")
    stream: Any = Stream()
    keys.record(ASKED, held, [stream])
    failed = End(outcome=Outcome.FAILED, error=ErrorDetail(code="engine_failed", message="gone"))
    stream.hear((Piece(text="a"),), failed)
    await until(lambda: log.kinds(KeyReleased))
    await until(lambda: not keys.claims.held)
    assert not log.kinds(KeySettled)


async def test_recorded_answer_replays_as_it_was() -> None:
    """Choices, calls and log-probabilities; one too large is not kept."""
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
    rest = {"index": 0, "function": {"arguments": "}"}}
    recorder = Recorder(request(n=2))
    recorder.hear((Piece(index=1, text="b", tokens=1, logprobs=(LOGPROB,)), Piece(tool_calls=(call,))), None)
    recorder.hear((Piece(tool_calls=(rest,), finish_reason="tool_calls"),), None)
    assert recorder.recorded() is None
    recorder.hear((Piece(index=1, finish_reason="stop"),), End(outcome=Outcome.COMPLETED))
    answer = recorder.recorded()
    assert answer is not None
    (arrival,) = await replayed(answer, 0.0).take(1.0)
    assert arrival.end == answer.end
    first, second = arrival.pieces
    assert first.tool_calls is not None
    assert first.tool_calls[0]["function"]["arguments"] == "{}"
    assert (second.text, second.logprobs, second.finish_reason) == ("b", (LOGPROB,), "stop")
    huge = Recorder(request())
    huge.hear((Piece(text="x" * 3_000_000),), End(outcome=Outcome.COMPLETED))
    assert huge.too_large
    assert huge.recorded() is None
