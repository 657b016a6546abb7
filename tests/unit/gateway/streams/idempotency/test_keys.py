"""Claims over a log that is in memory: who wins, what is kept, what a silent log means."""

import asyncio
import gc
from typing import Any

import pytest

from schemas.events.gateways.idempotency import AnswerKept, KeyReleased, KeySettled
from schemas.inference import End, ErrorDetail, Outcome, Piece, Usage
from services.common.requests.shared_room import SharedRoom
from services.gateway.streams.idempotency.keys import IdempotencyKeys, idempotency_secret
from services.gateway.streams.idempotency.recording import (
    Recorder,
    replayed,
)
from services.gateway.streams.idempotency.sealing import Asked
from tests.unit.gateway.streams.idempotency.scene import (
    ASKED,
    ENDED,
    Log,
    Stream,
    request,
    until,
)

LOGPROB = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


async def test_first_claim_wins_and_the_second_finds_it(keys: IdempotencyKeys, log: Log) -> None:
    """Both published before either was read back: the log's order decides."""
    first, second = await asyncio.gather(keys.claim(ASKED, ["r1"], "acme"), keys.claim(ASKED, ["r2"], "acme"))
    assert (first.won, second.won) == (True, False)
    assert second.claim.request_ids == ("r1",)
    await keys.release(first)
    assert (await keys.claim(ASKED, ["r3"], "acme")).won
    assert all(word not in one.value for one in log.records for word in (b"question", b'"k"'))


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
    recorder = Recorder(request(n=2), SharedRoom(1_000_000))
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
    huge = Recorder(request(), SharedRoom(10_000_000))
    huge.hear((Piece(text="x" * 3_000_000),), End(outcome=Outcome.COMPLETED))
    assert huge.too_large
    assert huge.recorded() is None


async def test_calls_that_end_together_keep_one_answer(keys: IdempotencyKeys, log: Log) -> None:
    """Ten attached to one generation, and an eleventh that hears the end later."""
    held = await keys.claim(ASKED, ["chatcmpl-1"], "acme")
    streams: list[Any] = [Stream() for _ in range(11)]
    for stream in streams:
        keys.record(ASKED, held, [stream])
        stream.hear((Piece(text="answer", tokens=1, finish_reason="stop"),), None)
    assert keys.room.taken > 11 * 4096
    for stream in streams[:10]:
        stream.hear((), ENDED)
    await until(lambda: keys.claims.held[0].answered_at_ms is not None)
    streams[10].hear((), ENDED)
    await until(lambda: not keys._settling)
    assert len(log.kinds(KeySettled)) == 1
    assert sum("answers" in one.topic for one in log.records) == 1
    assert keys.room.taken == 0


async def test_failures_that_are_heard_together_release_once(keys: IdempotencyKeys, log: Log) -> None:
    """The key is free once."""
    held = await keys.claim(ASKED, ["chatcmpl-1"], "acme")
    streams: list[Any] = [Stream() for _ in range(5)]
    for stream in streams:
        keys.record(ASKED, held, [stream])
    failed = End(outcome=Outcome.FAILED, error=ErrorDetail(code="engine_failed", message="gone"))
    for stream in streams:
        stream.hear((), failed)
    await until(lambda: not keys._settling)
    assert len(log.kinds(KeyReleased)) == 1
    assert keys.room.taken == 0


async def test_answer_that_the_room_does_not_take_is_not_kept(keys: IdempotencyKeys, log: Log) -> None:
    """Its key goes on holding, so that nothing is generated twice."""
    held = await keys.claim(ASKED, ["chatcmpl-1"], "acme")
    stream: Any = Stream()
    keys.record(ASKED, held, [stream])
    stream.hear((Piece(text="x" * 600_000),), None)
    stream.hear((Piece(text="y"),), ENDED)
    await until(lambda: not keys._settling)
    assert keys.room.taken == 0
    assert not log.kinds(KeySettled)
    assert not (await keys.claim(ASKED, ["r2"], "acme")).won


async def test_while_the_log_is_slow_answers_wait_within_the_room(keys: IdempotencyKeys, log: Log) -> None:
    """Those that do not fit are not kept; the others are, once it takes them."""
    log.slow.clear()
    claims = [
        await keys.claim(Asked(ASKED.caller, str(number), b"q"), ["chatcmpl-1"], "acme")
        for number in range(9)
    ]
    for number, held in enumerate(claims):
        stream: Any = Stream()
        keys.record(Asked(ASKED.caller, str(number), b"q"), held, [stream])
        stream.hear((Piece(text="x" * 100_000),), ENDED)
    assert 400_000 < keys.room.taken <= 500_000
    log.slow.set()
    await until(lambda: not keys._settling)
    assert len(log.kinds(KeySettled)) == 4
    assert keys.room.taken == 0


async def test_stream_that_never_ends_gives_its_room_back_when_it_is_forgotten(
    keys: IdempotencyKeys,
) -> None:
    """Another gateway, or another call, follows it to its end."""
    held = await keys.claim(ASKED, ["chatcmpl-1"], "acme")
    stream: Any = Stream()
    keys.record(ASKED, held, [stream])
    stream.hear((Piece(text="x" * 1000),), None)
    assert keys.room.taken > 1000
    del stream
    gc.collect()
    assert keys.room.taken == 0


@pytest.mark.parametrize(
    "piece",
    [
        Piece(text="\u20ac" * 100_000),
        Piece(tool_calls=({"index": 0, "function": {"name": "f", "arguments": "x" * 300_000}},)),
        Piece(text="a", logprobs=(LOGPROB,) * 5000),
    ],
)
async def test_room_counts_bytes_of_whatever_an_answer_is_made_of(piece: Piece) -> None:
    """Letters of three bytes, arguments of tool calls, log-probabilities."""
    room = SharedRoom(10_000_000)
    recorder = Recorder(request(), room)
    before = room.taken
    recorder.hear((piece,), None)
    assert room.taken - before >= 300_000
    recorder.close()
    assert room.taken == 0


async def test_one_tenants_answers_leave_room_for_others() -> None:
    """However many it has: half of what there is, at most."""
    room = SharedRoom(100)
    taken = sum(room.take("flood", 1) for _ in range(1000))
    assert taken == 50
    assert room.take("other", 20)
    room.give_back("flood", 50)
    room.give_back("other", 20)
    assert (room.taken, len(room._of_tenant)) == (0, 0)


def test_secret_is_derived_from_the_pepper() -> None:
    """It is not what API keys are hashed with, and another pepper's is another."""
    secret = idempotency_secret("pepper")
    assert secret not in (b"pepper", idempotency_secret("pepper2"))
    assert len(secret) == 32
