"""What a call takes, in which order, and what of it stays where it is not let in."""

import asyncio
import contextlib
from decimal import Decimal
from typing import Any

import pytest

from schemas.control import ModelChanged
from schemas.events.gateways.limits import LimitShares
from schemas.inference import QueueStatus
from services.common.control.state import ControlState
from services.common.http.problems import ProblemError
from services.gateway.openai.requests import CompletionBody
from tests.unit.gateway.budgets import budget
from tests.unit.gateway.limits.scene import caller
from tests.unit.gateway.serving import ask, serving_of
from tests.unit.gateway.streams.stage import Stage, make_stage

LIMITS = "key.requests_per_minute=50,key.tokens_per_minute=10000,key.concurrent_streams=50"


def taken(stage: Stage, serving: Any) -> dict[str, float]:
    """What is taken of places, money and limits."""
    meters = serving.admission.limiter.meters
    return {
        "places": stage.registry.followed,
        "money": len(serving.budgets.reservations),
        "tokens": meters.of("key:key00001:tokens", 0.0).held,
        "streams": meters.of("key:key00001:streams", 0.0).held,
        "requests": meters.of("key:key00001:requests", 0.0).used_s(serving.admission.monotonic()),
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


@pytest.mark.parametrize("prompts", [1, 3])
@pytest.mark.parametrize("why", ["disabled", "room", "late", "budget", "limit", "bus", "cancelled"])
async def test_call_that_is_refused_leaves_nothing_taken(why: str, prompts: int) -> None:
    """Whatever refuses it, and where it is cancelled while it waits."""
    stage = make_stage(max_in_flight=9)
    others = stage.registry.take_places("other", 9 if why == "room" else 0)
    defaults = LIMITS.replace("streams=50", "streams=0") if why == "limit" else LIMITS
    dollars = Decimal(0 if why == "budget" else 1000)
    serving = serving_of(stage, 0, defaults, budgets=(budget(limit_usd=dollars),))
    if why == "disabled":
        off = ModelChanged(model="m", enabled=False)
        serving.control.state = ControlState(models={"m": off})
    if why == "late":
        status = QueueStatus(
            dispatcher_id="d",
            model="m",
            host="h",
            pid=1,
            active=True,
            eta_ms=1e7,
            waiting={"interactive": 4},
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
    with pytest.raises(asyncio.CancelledError if why == "cancelled" else ProblemError):
        await asking
    for place in others:
        place.leave()
    assert taken(stage, serving) == NOTHING
    assert not serving.publisher.taken


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
    serving.budgets.shares.hear(LimitShares(gateway_id="g2", incarnation="g2/1"), 1.0)
    began = serving.budgets.clock()
    body = CompletionBody(model="m", prompt=["a"] * 16, max_tokens=100)
    with contextlib.suppress(ProblemError):
        await ask(serving, caller(), body)
    assert len(serving.publisher.taken) == 16
    assert (serving.budgets.clock() - began).total_seconds() < 3
    assert serving.budgets.reservations.total() == Decimal("1.6")
