"""When a key is claimed, and when it is free again, over a log in memory."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from schemas.control import BudgetChanged, ModelChanged
from schemas.events.gateways.idempotency import KeyClaimed, KeyReleased
from services.common.bus import Outgoing
from services.common.control.state import ControlState
from services.common.http.problems import ProblemError, unavailable
from services.common.requests.shared_room import SharedRoom
from services.gateway.bus.publisher import MayHaveBegunError
from services.gateway.http.idempotency import once
from services.gateway.http.request_input import Answering, Call
from services.gateway.openai.requests import CompletionBody
from services.gateway.problems import no_such_request
from services.gateway.streams.idempotency.claims import Claims
from services.gateway.streams.idempotency.keys import IdempotencyKeys
from services.gateway.streams.idempotency.turns import Turns
from tests.unit.gateway.budgets import budget
from tests.unit.gateway.limits.scene import caller
from tests.unit.gateway.serving import NOW, serving_of
from tests.unit.gateway.streams.idempotency.scene import Log
from tests.unit.gateway.streams.stage import Stage, make_stage

LIMITS = "key.requests_per_minute=50,key.tokens_per_minute=10000000"


class TimedLog(Log):
    """Its records are of the present, or so old."""

    age_s = 0.0

    async def send(self, record: Outgoing) -> None:
        await super().send(record)
        self.records[-1] = self.records[-1]._replace(timestamp=int((NOW.timestamp() - self.age_s) * 1000))


class Gateway:
    """One gateway with keys that it follows."""

    def __init__(self, log: Log, defaults: str = LIMITS, budgets: tuple[BudgetChanged, ...] = ()) -> None:
        make: Any = IdempotencyKeys
        self.log = log
        self.stage: Stage = make_stage(max_in_flight=9)
        self.serving = serving_of(self.stage, 99, defaults, budgets)
        now_ms = self.serving.publisher.bus_clock.now_ms
        self.keys: IdempotencyKeys = make(
            log, log, log, b"pepper", now_ms, Claims(10), SharedRoom(1_000_000), claim_timeout_s=0.2
        )
        self.serving.idempotency = self.keys
        self.serving.reattacher = SimpleNamespace(find=self._find)

    async def _find(self, request_id: str, _caller: object) -> Any:
        raise no_such_request(request_id)

    async def ask(self, body: CompletionBody, key: str = "k") -> Answering:
        """A call with a key."""
        headers = [(b"idempotency-key", key.encode())]
        request = Request({"type": "http", "path": "/v1/completions", "headers": headers})

        def make() -> Any:
            return self.serving.requests.completions(caller(), body, stream=False)

        return await once(self.serving, Call(request, caller(), body, make, None))

    def used(self) -> tuple[float, int]:
        """Requests used of the key's limit, and places taken."""
        meter = self.serving.limits.limiter.meters.of("key:key00001:requests", 0.0)
        return round(meter.used_s(1000.0) / 1.2, 6), self.stage.registry.followed


@pytest.fixture
async def log() -> Log:
    """An empty log."""
    return TimedLog()


@pytest.fixture
async def gateway(log: Log) -> AsyncIterator[Gateway]:
    """A gateway that follows it."""
    made = Gateway(log)
    running = asyncio.create_task(made.keys.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await made.keys.close()


@pytest.mark.parametrize(
    ("why", "status"),
    [
        ("choices", 400),
        ("prompts", 400),
        ("model", 404),
        ("large", 413),
        ("disabled", 403),
        ("room", 503),
        ("limit", 429),
        ("budget", 429),
        ("many", 429),
    ],
)
async def test_refused_call_leaves_no_record_of_its_key(log: Log, why: str, status: int) -> None:
    """Whatever refuses it, and however often: nothing is claimed, so nothing released."""
    made = Gateway(
        log,
        "key.requests_per_minute=0" if why == "limit" else "key.requests_per_minute=3",
        (budget(limit_usd=Decimal(0)),) if why == "budget" else (),
    )
    prompt: Any = {"prompts": ["a"] * 2048, "large": "x" * 1_048_576, "many": ["a"] * 4}.get(why, "a")
    if why == "disabled":
        made.serving.control.state = ControlState(models={"m": ModelChanged(model="m", enabled=False)})
    if why == "room":
        made.stage.registry.take_slots("other", 9)
    body = CompletionBody(
        model="none" if why == "model" else "m", prompt=prompt, n=99 if why == "choices" else 1
    )
    for _ in range(3):
        with pytest.raises(ProblemError) as refused:
            await made.ask(body)
        assert refused.value.problem.status == status
    assert log.records == []


@pytest.mark.parametrize("prompts", [1, 3])
async def test_key_stays_claimed_where_the_request_may_have_begun(gateway: Gateway, prompts: int) -> None:
    """The next call looks for it, and generates nothing anew."""
    gateway.serving.publisher.error = MayHaveBegunError(unavailable("It may have begun.").problem)
    body = CompletionBody(model="m", prompt=["a"] * prompts)
    with pytest.raises(MayHaveBegunError):
        await gateway.ask(body)
    await _still_claimed(gateway, body)


@pytest.mark.parametrize("takes", [1, 2])
async def test_key_stays_claimed_where_some_prompts_have_begun(gateway: Gateway, takes: int) -> None:
    """They are being cancelled, and may have ended before that."""
    gateway.serving.publisher.takes = takes
    body = CompletionBody(model="m", prompt=["a"] * 3)
    with pytest.raises(MayHaveBegunError):
        await gateway.ask(body)
    gateway.serving.publisher.takes = 99
    await _still_claimed(gateway, body, published=takes)


async def test_key_stays_claimed_where_the_call_was_cancelled_midway(
    gateway: Gateway,
) -> None:
    """The server ends a task; the log may have its request."""
    asked = asyncio.Event()

    async def ask(*_: object, **__: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    gateway.serving.publisher.ask, ask_ = ask, gateway.serving.publisher.ask
    body = CompletionBody(model="m", prompt="a")
    calling = asyncio.create_task(gateway.ask(body))
    await asked.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    gateway.serving.publisher.ask = ask_
    await _still_claimed(gateway, body)


async def _still_claimed(gateway: Gateway, body: CompletionBody, published: int = 0) -> None:
    assert (len(gateway.log.kinds(KeyClaimed)), gateway.log.kinds(KeyReleased)) == (1, [])
    gateway.serving.publisher.error = None
    seconds = iter(range(100))
    gateway.serving.monotonic = lambda: float(next(seconds))
    with pytest.raises(ProblemError) as again:
        await gateway.ask(body)
    assert again.value.problem.code == "idempotency_key_in_use"
    assert len(gateway.serving.publisher.taken) == published


async def test_key_is_free_again_where_nothing_was_begun(gateway: Gateway) -> None:
    """The bus was away: the next call asks, and its limits lack nothing."""
    gateway.serving.publisher.takes = 0
    body = CompletionBody(model="m", prompt=["a", "b"])
    with pytest.raises(ProblemError) as refused:
        await gateway.ask(body)
    assert (refused.value.problem.status, gateway.used()) == (503, (0, 0))
    assert len(gateway.log.kinds(KeyReleased)) == 1
    gateway.serving.publisher.takes = 99
    answering = await gateway.ask(body)
    assert [one.request.request_id for one in answering.reply_streams] == [
        one.request_id for one in gateway.serving.publisher.taken
    ]
    assert gateway.used() == (2, 2)


async def test_call_whose_key_another_holds_gives_back_what_it_took(gateway: Gateway, log: Log) -> None:
    """Two at once: one asks, and only that has used a place and a limit."""
    other = Gateway(log)
    other.keys.tail = _Tail(log)  # type: ignore[assignment]
    running = asyncio.create_task(other.keys.run())
    body = CompletionBody(model="m", prompt="a")
    seconds = iter(range(100))
    other.serving.monotonic = gateway.serving.monotonic = lambda: float(next(seconds))
    ended = await asyncio.gather(gateway.ask(body), other.ask(body), return_exceptions=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert sum(isinstance(one, Answering) for one in ended) == 1
    assert len(gateway.serving.publisher.taken) + len(other.serving.publisher.taken) == 1
    assert sorted((gateway.used(), other.used())) == [(0, 0), (1, 1)]
    assert len(log.kinds(KeyClaimed)) == 2


class _Tail:
    """Another reader of a log."""

    def __init__(self, log: Log) -> None:
        self.log, self.read = log, 0

    async def poll(self) -> list[Any]:
        while self.read == len(self.log.records):  # noqa: ASYNC110  the log's event is its first reader's
            await asyncio.sleep(0.001)
        found, self.read = self.log.records[self.read :], len(self.log.records)
        return [one for one in found if "claims" in one.topic]

    async def close(self) -> None: ...


async def test_known_key_is_answered_though_the_caller_is_over_its_limit(log: Log) -> None:
    """A repeated call counts against no limit: it goes on to look for its answer."""
    made = Gateway(log, "key.requests_per_minute=1")
    running = asyncio.create_task(made.keys.run())
    body = CompletionBody(model="m", prompt="a")
    await made.ask(body)
    with pytest.raises(ProblemError) as other_key:
        await made.ask(body, "another")
    assert other_key.value.problem.status == 429
    seconds = iter(range(100))
    made.serving.monotonic = lambda: float(next(seconds))
    with pytest.raises(ProblemError) as again:
        await made.ask(body)
    assert again.value.problem.code == "idempotency_key_in_use"
    with pytest.raises(ProblemError) as reused:
        await made.ask(CompletionBody(model="m", prompt="b"))
    assert reused.value.problem.code == "idempotency_key_reused"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("bound", ["limit", "budget"])
async def test_duplicates_at_one_gateway_take_what_one_call_takes(log: Log, bound: str) -> None:
    """All at once under a limit, or a budget, of one: none is refused for the others."""
    limits = "key.requests_per_minute=1" if bound == "limit" else LIMITS
    made = Gateway(log, limits, (budget(limit_usd=Decimal(1000)),) if bound == "budget" else ())
    running = asyncio.create_task(made.keys.run())
    seconds = iter(range(1000))
    made.serving.monotonic = lambda: float(next(seconds))
    body = CompletionBody(model="m", prompt="a")
    ended = await asyncio.gather(*(made.ask(body) for _ in range(20)), return_exceptions=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    codes = [one.problem.code for one in ended if isinstance(one, ProblemError)]
    assert codes == ["idempotency_key_in_use"] * 19
    _, places = made.used()
    assert (len(log.kinds(KeyClaimed)), len(made.serving.publisher.taken), places) == (1, 1, 1)
    assert len(made.keys.turns) == 0


async def test_refused_call_lets_its_duplicate_have_its_turn(log: Log) -> None:
    """One after the other, each by its own right; nothing stays held."""
    made, body = Gateway(log, "key.requests_per_minute=0"), CompletionBody(model="m", prompt="a")
    ended = await asyncio.gather(*(made.ask(body) for _ in range(3)), return_exceptions=True)
    assert [one.problem.status for one in ended if isinstance(one, ProblemError)] == [429] * 3
    assert (len(made.keys.turns), log.records) == (0, [])


@pytest.mark.parametrize(
    ("age_s", "retry_after"), [(0, "1"), (4.5, "1"), (5, "85"), (30.5, "60"), (89.5, "1")]
)
async def test_call_is_told_when_its_key_will_be_free(
    gateway: Gateway, log: TimedLog, age_s: float, retry_after: str
) -> None:
    """In a second where another call has just begun; else when nothing can come of it."""
    gateway.serving.publisher.error = MayHaveBegunError(unavailable("It may have begun.").problem)
    body, log.age_s = CompletionBody(model="m", prompt="a"), age_s
    with pytest.raises(MayHaveBegunError):
        await gateway.ask(body)
    seconds = iter(range(100))
    gateway.serving.monotonic = lambda: float(next(seconds))
    with pytest.raises(ProblemError) as again:
        await gateway.ask(body)
    headers = dict(again.value.problem.headers)
    assert (headers["retry-after"], headers["retry-after-ms"]) == (retry_after, f"{retry_after}000")


async def test_turn_is_waited_for_no_longer_than_it_may_take() -> None:
    """Who waits in vain goes on; who holds it gives it to the next."""
    turns, order = Turns(), list[str]()
    async with turns.of("k", 1.0):
        async with turns.of("k", 0.01):
            order.append("in vain")
        async with turns.of("other", 1.0):
            order.append("another key")

        async def waiting() -> None:
            async with turns.of("k", 5.0):
                order.append("next")

        task = asyncio.create_task(waiting())
        await asyncio.sleep(0)
        assert order == ["in vain", "another key"]
    await task
    assert (order[2:], len(turns)) == (["next"], 0)
