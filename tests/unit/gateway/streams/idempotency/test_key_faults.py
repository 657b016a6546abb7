"""Keys where the log fails, calls come together, or another version wrote."""

import asyncio

import pytest

from schemas.events.gateways.idempotency import AnswerKept, KeyReleased
from schemas.topics import IDEMPOTENCY_ANSWERS
from services.common.errors import BusUnavailableError, PermanentError
from services.common.http.problems import ProblemError
from services.common.process import metrics
from services.gateway.streams.idempotency.claims import Claim
from services.gateway.streams.idempotency.keys import IdempotencyKeys
from services.gateway.streams.idempotency.recording import (
    RECORDED,
    RecordedAnswer,
)
from tests.unit.gateway.streams.idempotency.scene import (
    ASKED,
    ENDED,
    Log,
    Written,
    request,
    until,
)

NOT_SETTLED = metrics.GATEWAY_IDEMPOTENT.labels("not_settled")._value


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


@pytest.mark.parametrize("error", [BusUnavailableError("no word"), PermanentError("not allowed")])
async def test_claim_that_failed_though_it_is_in_the_log_is_taken_back(
    keys: IdempotencyKeys, log: Log, error: Exception
) -> None:
    """Whatever the bus said: 503, and the key is free again."""
    log.fails.append(error)
    with pytest.raises(ProblemError) as refused:
        await keys.claim(ASKED, ["r1"], "acme")
    assert refused.value.problem.status == 503
    await until(lambda: log.kinds(KeyReleased))
    await until(lambda: not keys.claims.held)
    assert (await keys.claim(ASKED, ["r2"], "acme")).won
    assert not keys._waiting


@pytest.mark.parametrize("leaves", [0, 1, 3])
async def test_releases_of_one_claim_at_once_all_return(keys: IdempotencyKeys, log: Log, leaves: int) -> None:
    """Clients that repeat a failed call in pairs; the first of them may leave meanwhile."""
    held = await keys.claim(ASKED, ["r1"], "acme")
    before = NOT_SETTLED.get()
    log.mute = True
    releasing = [asyncio.create_task(keys.release(held)) for _ in range(4)]
    await until(lambda: len(log.kinds(KeyReleased)) == 4)
    for one in releasing[:leaves]:
        one.cancel()
    await until(lambda: all(one.done() for one in releasing[:leaves]))
    log.mute = False
    log._grew.set()
    ended = await asyncio.gather(*releasing, return_exceptions=True)
    assert (ended[leaves:], NOT_SETTLED.get()) == ([None] * (4 - leaves), before)
    assert not keys._waiting
    assert (await keys.claim(ASKED, ["r2"], "acme")).won


async def test_release_that_comes_too_late_for_one_is_in_time_for_the_next(
    keys: IdempotencyKeys, log: Log
) -> None:
    """The first gives up while the second waits."""
    held = await keys.claim(ASKED, ["r1"], "acme")
    before = NOT_SETTLED.get()
    log.mute, keys.claim_timeout_s = True, 0.05
    first = asyncio.create_task(keys.release(held))
    await until(lambda: log.kinds(KeyReleased))
    keys.claim_timeout_s = 30.0
    second = asyncio.create_task(keys.release(held))
    await first
    log.mute = False
    log._grew.set()
    async with asyncio.timeout(5):
        await second
    assert (NOT_SETTLED.get() - before, keys._waiting) == (1, {})


def _sealed(answer_id: str, plain: bytes) -> bytes:
    sealed = ASKED.seal(b"pepper", answer_id, plain) or ""
    return AnswerKept(answer_id=answer_id, tenant="acme", sealed=sealed).encode()


OTHER = RecordedAnswer(request=request(), end=ENDED).encode().replace(b'"completed"', b'"distilled"')


@pytest.mark.parametrize(
    ("answer_id", "value", "skipped"),
    [
        ("1-a", _sealed("1-a", b"[" + OTHER + b"]"), 1),
        ("1-a", _sealed("1-a", b'{"format": 2}'), 1),
        ("0-b", b'{"answer_id": "0-b", "sealed_with": "another"}', 1),
        ("0-b", b"\xff", 1),
        ("v2:0-c", _sealed("v2:0-c", b"[]"), 0),
        ("\u00b2-c", b"{}", 0),
        ("d", b"{}", 0),
    ],
)
async def test_answer_of_another_version_is_passed_over(
    keys: IdempotencyKeys, log: Log, answer_id: str, value: bytes, skipped: int
) -> None:
    """Its key is as one whose answer is no longer kept. One that can be read beside it is
    given.
    """
    claim = Claim("c", "b", ("r1",), 5, "acme", 5, answer_id)
    counter = metrics.BUS_SKIPPED.labels(IDEMPOTENCY_ANSWERS.name, "unreadable")._value
    before, partition = counter.get(), int(answer_id[0]) if answer_id[0] in "01" else 0
    log.records.append(Written(IDEMPOTENCY_ANSWERS.name, partition, 0, answer_id.encode(), value, 5))
    assert await keys.answer_of(ASKED, claim, "acme") is None
    assert counter.get() - before == skipped
    good = _sealed(answer_id, RECORDED.dump_json((RecordedAnswer(request=request(), end=ENDED),)))
    log.records.append(Written(IDEMPOTENCY_ANSWERS.name, partition, 1, answer_id.encode(), good, 5))
    assert bool(await keys.answer_of(ASKED, claim, "acme")) is bool(skipped)
