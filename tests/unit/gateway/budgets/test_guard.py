"""What a client is told, and what is reserved for it."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from itertools import count

import pytest

from schemas.control import Subject
from schemas.events.gateways.limits import LimitShares
from schemas.inference import InferenceRequested, Sampling
from services.common.http.problems import Problem, ProblemError
from services.common.requests.pricing import FREE, UNKNOWN
from services.gateway.app import make_serving
from services.gateway.budgets.follower import End
from services.gateway.budgets.guard import share_name
from services.gateway.limits.peer_usage import PeerUsage
from services.gateway.settings import Settings
from tests.unit.gateway.budgets import NOW, budget
from tests.unit.gateway.budgets.scene import BudgetScene
from tests.unit.gateway.limits.scene import request

DOLLAR = Decimal(1)


def asking(tokens: int | None = 1000, number: int = 1, **fields: object) -> InferenceRequested:
    """A request of a dollar a thousand tokens."""
    sampling = Sampling(max_tokens=tokens)
    given = {"request_id": f"r{number}", "deadline": NOW + timedelta(seconds=30), "sampling": sampling}
    return request(**(given | fields))


async def refused(scene: BudgetScene, *requests: InferenceRequested) -> Problem:
    """The problem that these requests are told."""
    with pytest.raises(ProblemError) as caught:
        await scene.admission.admit(requests)
    return caught.value.problem


async def test_exhausted_budget_is_429_that_says_which_and_until_when() -> None:
    """Not to be tried again; no amounts, no subject's name."""
    entry = budget(time_zone="Europe/Paris", subject=Subject(kind="key", id="key00001"))
    scene = BudgetScene((entry,))
    scene.spend(Decimal("9.5"))
    problem = await refused(scene, asking())
    assert (problem.status, problem.code, problem.type) == (429, "insufficient_quota", "insufficient_quota")
    assert problem.headers == (("x-should-retry", "false"),)
    assert "'b1'" in problem.message
    assert "2026-11-28T00:00:00+01:00" in problem.message
    assert "9.5" not in problem.message
    assert await scene.admission.admit([asking(400)]) == [asking(400)]


async def test_refusal_promises_a_smaller_answer_only_where_one_may_fit() -> None:
    """Not under a budget of 0, nor under one that is spent."""
    for limit, spent, said in ((0, 0, "is 0"), (10, 10, "is exhausted"), (10, 9.5, "a smaller max_tokens")):
        scene = BudgetScene((budget(limit_usd=limit * DOLLAR),))
        scene.spend(Decimal(spent))
        message = (await refused(scene, asking())).message
        assert said in message
        assert ("smaller max_tokens" in message) == (spent == 9.5)


async def test_reserved_money_is_free_again_when_the_request_ends() -> None:
    """And not before, whoever else asks; the other gateways are told each time."""
    scene = BudgetScene((budget(limit_usd=2 * DOLLAR),))
    await scene.admission.admit([asking(number=1), asking(number=2)])
    problem = await refused(scene, asking(number=3))
    assert (problem.code, dict(problem.headers)["x-should-retry"]) == ("insufficient_quota", "true")
    assert "requests under way" in problem.message
    assert scene.peer_usage.take(0).held == {share_name("b1"): 2.0}
    scene.spend(Decimal("0.25"))
    scene.admission.release("r1")
    assert scene.peer_usage.take(0).held == {share_name("b1"): 1.0}
    assert (await refused(scene, asking(number=3))).code == "insufficient_quota"
    await scene.admission.admit([asking(750, number=3)])
    assert scene.told > 0
    scene.seconds += 30 + 60 + 1
    scene.admission.expire()
    assert scene.admission.reservations.total() == 0
    await scene.admission.admit([asking(1750, number=4)])


async def test_prompts_of_one_call_are_let_in_together_or_not_at_all() -> None:
    """Two of three fit: none is reserved for."""
    scene = BudgetScene((budget(limit_usd=2 * DOLLAR),))
    calls = [asking(number=number) for number in range(3)]
    assert (await refused(scene, *calls)).status == 429
    assert scene.admission.reservations.total() == 0
    assert len(await scene.admission.admit(calls[:2])) == 2


async def test_open_ended_answer_is_bounded_by_what_is_left() -> None:
    """The request that is published says so."""
    scene = BudgetScene((budget(limit_usd=DOLLAR),))
    [bounded] = await scene.admission.admit([asking(None)])
    assert bounded.sampling.max_tokens == 1000
    assert bounded == asking(None).model_copy(update={"sampling": bounded.sampling})


async def test_soft_budgets_and_others_budgets_refuse_nobody() -> None:
    """Nor do those of another tenant, nor what costs nothing."""
    soft, other = budget(hard=False, limit_usd=Decimal(0)), budget(budget_id="b2", tenant="globex")
    scene = BudgetScene((soft, other))
    scene.spend(99 * DOLLAR)
    assert await scene.admission.admit([asking()]) == [asking()]
    free = BudgetScene((budget(limit_usd=Decimal(0)),), price=FREE)
    assert await free.admission.admit([asking()]) == [asking()]
    assert len(free.admission.reservations) == 0


async def test_unknown_price_under_a_hard_budget_is_refused() -> None:
    """Counted as nothing it would be a way around the budget."""
    problem = await refused(BudgetScene((budget(),), price=UNKNOWN), asking())
    assert (problem.status, problem.code) == (429, "insufficient_quota")
    assert "no known price" in problem.message


async def test_unknown_spending_is_503_and_never_taken_for_none() -> None:
    """The store is away: hard budgets let nobody in, others do."""
    scene = BudgetScene((budget(),))
    scene.follower.ready = False
    problem = await refused(scene, asking())
    assert (problem.status, problem.code) == (503, "store_unavailable")
    assert await scene.admission.admit([asking(tenant="initech")]) == [asking(tenant="initech")]


async def test_reservations_elsewhere_count_while_their_gateway_lives() -> None:
    """Amounts that nobody can hold count as none."""
    scene = BudgetScene((budget(),))
    told = LimitShares(gateway_id="g2", incarnation="g2/1", held={share_name("b1"): 9.5})
    scene.peer_usage.apply(told, 1000.0, 1)
    assert (await refused(scene, asking())).code == "insufficient_quota"
    await scene.admission.admit([asking(400)])
    scene.peer_usage.apply(LimitShares(gateway_id="g2", incarnation="g2/1", stopping=True), 1000.1, 2)
    await scene.admission.admit([asking(number=2)])
    scene.peer_usage.apply(told.model_copy(update={"held": {share_name("b1"): 1e300}}), 1000.2, 3)
    await scene.admission.admit([asking(number=3)])


async def test_request_waits_its_turn_where_gateways_may_not_know_of_each_other() -> None:
    """For a moment, then it is let in; no client hears that its budget is exhausted."""
    scene = BudgetScene((budget(limit_usd=3 * DOLLAR),))
    peer = PeerUsage("g2", "g2/1")
    peer.apply(scene.peer_usage.take(1e9), 1000.0, 1)
    scene.peer_usage.apply(peer.take(0.0), 1000.0, 2)
    await scene.admission.admit([asking(number=1)])
    problem = await refused(scene, asking(number=2))
    assert (problem.status, problem.code) == (503, "overloaded")
    assert "at several gateways at once" in problem.message
    assert scene.told > 1
    waiting = asyncio.create_task(scene.admission.admit([asking(number=2)]))
    await asyncio.sleep(0)
    told = scene.peer_usage.take(1e9)
    for one in (scene.peer_usage, peer):
        one.apply(told, 1000.0, 3)
    scene.peer_usage.apply(peer.take(0.0), 1000.0, 4)
    assert len(await waiting) == 1


async def test_gateway_that_just_started_lets_nothing_in_before_all_know_of_it() -> None:
    """What is exhausted for certain, or costs nothing, needs nobody's word."""
    scene = BudgetScene((budget(),), known=False)
    problem = await refused(scene, asking(number=1))
    assert (problem.status, problem.code) == (503, "bus_unavailable")
    assert "has not heard" in problem.message
    scene.spend(7 * DOLLAR)
    assert (await refused(scene, asking(4000))).code == "insufficient_quota"
    free = BudgetScene((budget(),), price=FREE, known=False)
    assert await free.admission.admit([asking()]) == [asking()]
    peer = PeerUsage("g2", "g2/1")
    scene.peer_usage.apply(peer.take(0.0), 1000.0, 1)
    first = scene.peer_usage.take(1e9)
    scene.peer_usage.apply(first, 1000.0, 2)
    assert (await refused(scene, asking(number=2))).code == "bus_unavailable"
    peer.apply(first, 1000.0, 2)
    scene.peer_usage.apply(peer.take(0.0), 1000.0, 3)
    await scene.admission.admit([asking(number=2)])


@pytest.mark.parametrize("gateways", [2, 5])
async def test_gateways_that_start_together_overshoot_by_one_request_of_each_other(gateways: int) -> None:
    """None takes itself for the only one, whatever is asked of each at its start."""
    scenes = [
        BudgetScene((budget(limit_usd=4 * DOLLAR),), gateway_id=f"g{one}", known=False, look_s=0.0)
        for one in range(gateways)
    ]

    async def exchange() -> None:
        offset = 0
        while True:
            records = [one.peer_usage.take(1000.0 + one.seconds) for one in scenes]
            for one in scenes:
                one.seconds += 0.02
                for number, record in enumerate(records):
                    one.peer_usage.apply(record, 1000.0 + one.seconds, offset + number)
            offset += len(records)
            await asyncio.sleep(0.01)

    calls = [one.admission.admit([asking(number=number)]) for one in scenes for number in range(4)]
    asked = asyncio.gather(*calls, return_exceptions=True)
    exchanging = asyncio.create_task(exchange())
    told = await asked
    exchanging.cancel()
    assert all(isinstance(one, list | ProblemError) for one in told)
    assert 1 <= sum(isinstance(one, list) for one in told) <= 4 + gateways - 1


async def test_requests_that_wait_are_bounded() -> None:
    """Where the spending is not known, a flood is answered at once, but for a few."""
    scene = BudgetScene((budget(),))
    known = asyncio.Event()

    async def wait(_meters: object, _timeout_s: float) -> bool:
        await known.wait()
        scene.follower.ready = True
        return True

    scene.follower.ready, scene.follower.wait_until_ready = False, wait  # type: ignore[method-assign]
    waiting = [asyncio.create_task(scene.admission.admit([asking(1, number=one)])) for one in range(256)]
    await asyncio.sleep(0)
    assert (await refused(scene, asking(1, number=999))).code == "store_unavailable"
    known.set()
    assert len(await asyncio.gather(*waiting)) == 256
    await scene.admission.admit([asking(1, number=999)])


async def test_budget_that_was_just_made_holds_for_the_next_request() -> None:
    """Before anybody has learnt what was spent of it: nobody is let in then."""
    scene = BudgetScene()
    assert await scene.admission.admit([asking()]) == [asking()]
    scene.entries, scene.follower.ready = (budget(),), False
    assert (await refused(scene, asking())).code == "store_unavailable"


async def test_ends_are_followed_while_a_budget_is_there_or_a_request_still_has_something_reserved() -> None:
    """What its end frees is nobody else's to free."""
    scene = BudgetScene((budget(),))
    assert scene.admission.on_round()
    [request_] = await scene.admission.admit([asking()])
    scene.entries = ()
    assert scene.admission.on_round()
    scene.admission.release(request_.request_id)
    assert not scene.admission.on_round()


@pytest.mark.parametrize("cost", ["1.9", "0.4"])
async def test_gateway_that_reads_an_end_later_than_another_takes_it_for_no_money_left(cost: str) -> None:
    """What a request cost is told by who reserved for it until the others say that they
    counted it, however long that takes, so that in no order of reading anybody may spend
    it again.
    """
    one, other = (BudgetScene((budget(limit_usd=2 * DOLLAR),), gateway_id=name, look_s=0.01) for name in "ab")

    offsets = count()

    def tell() -> None:
        for scene in (one, other):
            scene.admission.on_round()
        for teller in (other, one):
            told, offset = teller.peer_usage.take(1e9), next(offsets)
            for scene in (one, other):
                scene.peer_usage.apply(told, 1000.0, offset)

    other.follower.counted = {0: 0}
    tell()

    await one.admission.admit([asking(1900, number=1)])
    tell()
    one.spend(Decimal(cost))
    one.admission.on_end(End("r1", Decimal(cost), partition=0, offset=0))
    one.seconds += 100.0
    tell()
    assert one.admission.reservations.total() == 0
    assert one.peer_usage.held(share_name("b1")) == float(cost)
    left = 2 * DOLLAR - Decimal(cost)
    assert (await refused(other, asking(int(left * 1000) + 1, number=2))).code == "insufficient_quota"
    other.spend(Decimal(cost))
    other.follower.counted = {0: 1}
    tell()
    tell()
    assert len(await other.admission.admit([asking(int(left * 1000), number=2)])) == 1


async def test_gateways_follower_tells_its_guard_of_rounds_and_ends() -> None:
    """As they are wired: or what requests reserved would stay reserved."""
    serving = make_serving(Settings(key_pepper="p" * 16, pseudonym_key="p" * 16))  # type: ignore[arg-type]
    guard = serving.budgets
    assert (guard.follower.on_round, guard.follower.on_end) == (guard.on_round, guard.on_end)
    await guard.follower.close()
