"""What a call takes, in which order, and what of it stays where it is not let in."""

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas.base import TenantTurn
from schemas.control import ModelChanged
from schemas.events.gateways.limits import LimitShares
from schemas.inference import Lane, QueueStatus
from services.common.control.state import ControlState
from services.common.http.problems import Problem, ProblemError
from services.common.process import metrics
from services.gateway.openai.requests import CompletionBody
from tests.unit.gateway.budgets import budget
from tests.unit.gateway.limits.scene import caller
from tests.unit.gateway.serving import ask, serving_of
from tests.unit.gateway.streams.stage import Stage, make_stage

LIMITS = "key.requests_per_minute=50,key.tokens_per_minute=10000,key.concurrent_streams=50"


def taken(stage: Stage, serving: Any) -> dict[str, float]:
    """What is taken of places, money and limits."""
    meters = serving.limits.limiter.meters
    return {
        "places": stage.registry.followed,
        "money": len(serving.budgets.reservations),
        "tokens": meters.of("key:key00001:tokens", 0.0).held,
        "streams": meters.of("key:key00001:streams", 0.0).held,
        "requests": meters.of("key:key00001:requests", 0.0).used_s(serving.limits.monotonic()),
    }


NOTHING = dict.fromkeys(("places", "money", "tokens", "streams", "requests"), 0)


@pytest.mark.parametrize(("places", "prompts", "let_in"), [(10, 1, 10), (10, 3, 3), (4, 4, 1), (3, 4, 0)])
async def test_calls_that_wait_for_a_budget_have_their_places_already(
    places: int, prompts: int, let_in: int
) -> None:
    """A hundred at once, all of which wait at the budgets, are as many as there is room
    for; when those are begun, nobody else is.
    """
    stage = make_stage(max_in_flight=places)
    serving = serving_of(stage, 99, budgets=(budget(limit_usd=Decimal(1000)),))
    known = asyncio.Event()

    async def wait(_meters: object, _timeout_s: float) -> bool:
        await known.wait()
        return True

    serving.budgets.follower.ready, serving.budgets.follower.wait_until_ready = False, wait
    body = CompletionBody(model="m", prompt=["a"] * prompts, max_tokens=1)
    calls = [asyncio.create_task(ask(serving, caller(), body)) for _ in range(100)]
    await asyncio.sleep(0)
    known.set()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    refused = [one for one in ended if isinstance(one, ProblemError)]
    assert {one.problem.code for one in refused} == {"overloaded"}
    assert len(ended) - len(refused) == let_in
    assert len(serving.publisher.taken) == stage.registry.followed == let_in * prompts <= places


REFUSALS = {
    "room": (503, "overloaded"),
    "share": (429, "rate_limit_exceeded"),
    "late": (503, "overloaded"),
    "budget": (429, "insufficient_quota"),
    "limit": (429, "rate_limit_exceeded"),
    "bus": (503, "bus_unavailable"),
}


@pytest.mark.parametrize("prompts", [1, 3])
@pytest.mark.parametrize("why", [*REFUSALS, "cancelled"])
async def test_call_that_is_refused_leaves_nothing_taken(why: str, prompts: int) -> None:
    """Whatever refuses it, and where it is cancelled while it waits. Nothing else would
    refuse it.
    """
    stage = make_stage(max_in_flight=9 * prompts)
    mine = stage.registry.take_slots("acme", 8 * prompts if why == "share" else 0)
    others = stage.registry.take_slots("other", 9 * prompts if why == "room" else 0)
    defaults = LIMITS.replace("streams=50", "streams=0") if why == "limit" else LIMITS
    dollars = Decimal(0 if why == "budget" else 1000)
    serving = serving_of(stage, 0 if why == "bus" else 99, defaults, budgets=(budget(limit_usd=dollars),))
    if why == "late":
        status = QueueStatus(
            dispatcher_id="d",
            model="m",
            host="h",
            pid=1,
            active=True,
            eta_ms=1e7,
            turns={Lane.INTERACTIVE: (TenantTurn(tenant="other", waiting=4),)},
        )
        stage.registry.queue_positions.monotonic = lambda: 0.0
        stage.registry.queue_positions._queues["m"] = status, 0.0
    if why == "cancelled":
        serving.budgets.follower.ready = False
        serving.budgets.follower.wait_until_ready = lambda *_: asyncio.Event().wait()
    body = CompletionBody(model="m", prompt=["a"] * prompts, max_tokens=5)
    asking = asyncio.create_task(ask(serving, caller(), body))
    await asyncio.sleep(0)
    if why == "cancelled":
        assert stage.registry.followed == prompts
        asking.cancel()
    with pytest.raises(asyncio.CancelledError if why == "cancelled" else ProblemError) as refused:
        await asking
    if isinstance(refused.value, ProblemError):
        assert (refused.value.problem.status, refused.value.problem.code) == REFUSALS[why]
    for place in (*mine, *others):
        place.leave()
    assert taken(stage, serving) == NOTHING
    assert not serving.publisher.taken


def switched_off(stage: Stage, limits: str, usd: int = 1000) -> Any:
    """A gateway whose one model is switched off."""
    serving = serving_of(stage, 99, limits, budgets=(budget(limit_usd=Decimal(usd)),))
    serving.control.state = ControlState(models={"m": ModelChanged(model="m", enabled=False)})
    return serving


@pytest.mark.parametrize(
    ("requests_a_minute", "prompts", "usd", "ends"), [(5, 1, 9, 5), (7, 3, 9, 2), (0, 1, 9, 0), (5, 1, 0, 0)]
)
async def test_calls_for_a_model_that_is_switched_off_are_recorded_within_limits_and_budgets(
    requests_a_minute: int, prompts: int, usd: int, ends: int
) -> None:
    """One end a call, counted once. It is a use of requests a minute; all else is free."""
    stage = make_stage()
    limits = f"key.requests_per_minute={requests_a_minute},key.tokens_per_minute=9999"
    serving, counted = switched_off(stage, limits, usd), metrics.LLM_REQUESTS.labels("m", "blocked")._value
    before, refused = counted.get(), Counter[str]()
    body = CompletionBody(model="m", prompt=["a"] * prompts, max_tokens=5)
    for _ in range(20):
        with pytest.raises(ProblemError) as error:
            await ask(serving, caller(), body)
        refused[error.value.problem.code] += 1
        assert error.value.request_id
    assert (refused["model_disabled"], sum(refused.values())) == (ends, 20)
    assert len(serving.gate.ends.ended) == counted.get() - before == ends
    assert taken(stage, serving) == NOTHING | {
        "requests": pytest.approx(ends * prompts * 60 / (requests_a_minute or 1))
    }


@pytest.mark.parametrize("how", ["cancelled", "not acknowledged"])
async def test_end_that_may_be_written_is_a_use_of_limits(how: str) -> None:
    """Whether its client waits for it or not; meanwhile it has a place."""
    stage, asked = make_stage(), asyncio.Event()
    serving = switched_off(stage, LIMITS)

    async def end(*_: object, **__: object) -> None:
        asked.set()
        if how == "cancelled":
            await asyncio.Event().wait()
        raise ProblemError(Problem(503, "bus_unavailable", "It may still arrive."))

    serving.gate.ends.end = end
    asking = asyncio.create_task(ask(serving, caller(), CompletionBody(model="m", prompt=["a", "b"])))
    await asked.wait()
    if how == "cancelled":
        assert stage.registry.followed == 2
        asking.cancel()
    with pytest.raises(asyncio.CancelledError if how == "cancelled" else ProblemError):
        await asking
    assert taken(stage, serving) == NOTHING | {"requests": pytest.approx(2 * 60 / 50)}


async def test_call_that_is_let_in_takes_of_everything_until_it_is_given_back() -> None:
    """Once, however often it is said."""
    stage = make_stage()
    serving = serving_of(stage, 9, LIMITS, budgets=(budget(),))
    body = CompletionBody(model="m", prompt=["a", "b"], max_tokens=5)
    requests = serving.requests.completions(caller(), body, stream=False)
    admitted = await serving.gate.admit(caller(), requests, None)
    assert all(taken(stage, serving).values())
    others = await serving.gate.admit(
        caller(), serving.requests.completions(caller(), body, stream=True), None
    )
    before = taken(stage, serving)
    for _ in range(3):
        for one in admitted:
            one.give_back()
            one.settle(5, 5)
            one.leave_to_its_end()
    assert taken(stage, serving) == {name: amount / 2 for name, amount in before.items()}
    for one in others:
        one.give_back()
    assert taken(stage, serving) == NOTHING


async def test_prompts_of_one_call_wait_for_a_budget_once() -> None:
    """Sixteen prompts are decided on together: no later one waits until the others heard
    of the earlier.
    """
    stage = make_stage()
    serving = serving_of(stage, 99, budgets=(budget(),))
    serving.budgets.peer_usage.apply(LimitShares(gateway_id="g2", incarnation="g2/1", serial=1), 1.0, 1)
    began = serving.budgets.clock()
    body = CompletionBody(model="m", prompt=["a"] * 16, max_tokens=100)
    with contextlib.suppress(ProblemError):
        await ask(serving, caller(), body)
    assert len(serving.publisher.taken) == 16
    assert (serving.budgets.clock() - began).total_seconds() < 3
    assert serving.budgets.reservations.total() == Decimal("1.6")


@pytest.mark.parametrize("user", ["jo", ""])
async def test_admitted_request_knows_its_callers_user(user: str) -> None:
    """By name, not by pseudonym: whether they are suspended meanwhile is looked up by it."""
    serving = serving_of(make_stage(), 99)
    who = replace(caller(), user=user)
    requests = serving.requests.completions(who, CompletionBody(model="m", prompt=["a", "b"]), stream=False)
    assert [one.user for one in await serving.gate.admit(who, requests, None)] == [user, user]
