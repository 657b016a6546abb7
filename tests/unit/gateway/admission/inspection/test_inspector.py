"""Who reads what, how long a call waits, and what it is told when it is not."""

import asyncio
from typing import Any

import pytest

from schemas.control import EVERYBODY
from schemas.errors import ErrorCode
from schemas.events.security import PromptRisk
from services.common.control.thresholds import Thresholds
from services.common.http.problems import ProblemError
from services.common.process import metrics
from services.common.requests.shared_room import SharedRoom
from services.gateway.admission.inspection.inspector import TimeBudget
from tests.unit.gateway.admission.inspection.scene import Scene, asked, request, scene

LONG = "all is well. " * 1000
DIFFERENT = " ".join(f"all is well at {number}." for number in range(5000))
"""Long, and no two pieces of it are the same."""


async def test_harmless_prompt_waits_for_nobody() -> None:
    """No worker hears of it."""
    async with scene() as found:
        risk = await found.risk("hello")
        assert (risk.level, risk.depth, risk.action, risk.timed_out) == ("none", "rules", "allowed", False)
        assert not found.workers[0].done


async def test_suspicious_prompt_has_the_models_opinion() -> None:
    """Rules saw nothing, the n-grams did."""
    async with scene() as found:
        risk = await found.risk("evil hint")
        assert (risk.level, risk.depth, risk.action) == ("high", "model", "flagged")
        assert (risk.detector_version, risk.rules_version) == ("model-1", "rules-1")


async def test_prompt_that_rules_and_model_agree_on_is_blocked() -> None:
    """And one that the rules are certain of, without the model."""
    async with scene() as found:
        assert (await found.risk("evil rules")).action == "blocked"
        found.workers[0].done.clear()
        assert (await found.risk("certain")).action == "blocked"
        assert not found.workers[0].done


async def test_opinion_that_takes_longer_than_the_budget_is_not_waited_for() -> None:
    """The rules' verdict stands, and the event says that a deeper look is wanted."""
    async with scene(slow=True, time_budget=TimeBudget(budget_s=0.02, decision_s=60.0)) as found:
        risk = await found.risk("evil hint")
        assert (risk.level, risk.depth, risk.timed_out) == ("none", "rules", True)


async def test_tenants_own_budget_is_its_policys() -> None:
    """An administrator gave it more time."""
    async with scene(slow=True, time_budget=TimeBudget(budget_s=0.0, decision_s=60.0)) as found:
        found.set_policy("flag", inspection_ms=10_000)
        asking = asyncio.create_task(found.risk("evil hint"))
        async with asyncio.timeout(5):
            while not found.workers[0].done:  # noqa: ASYNC110  what is looked at has no event
                await asyncio.sleep(0)
        found.workers[0].go.set()
        assert (await asking).depth == "model"


async def test_policy_that_names_no_time_leaves_the_gateways_setting() -> None:
    """Whoever sets what is done about attacks has not said how long a prompt may wait."""
    async with scene(time_budget=TimeBudget(budget_s=0.0, decision_s=60.0)) as found:
        found.set_policy("flag")
        risk = await found.risk("evil hint")
        assert (risk.depth, risk.timed_out) == ("rules", True)
        found.set_policy("observe", tenant=EVERYBODY, inspection_ms=10_000)
        assert (await found.risk("another evil hint")).depth == "model"


async def test_busy_model_costs_a_prompt_nothing() -> None:
    """Not even the n-grams are asked whether it is wanted; the event says so."""
    async with scene(time_budget=TimeBudget(budget_s=0.01, decision_s=60.0)) as found:
        pool = found.inspector.pool
        pool._job_s, pool._measured_s = 60.0, pool.monotonic()
        risk = await found.risk("evil hint")
        assert (risk.level, risk.depth, risk.timed_out) == ("none", "rules", True)
        assert not found.screener.suspected
        assert (await found.risk("evil rules")).action == "blocked"  # which the model decides


async def test_tenant_that_blocks_from_high_on_has_every_suspect_decided() -> None:
    """However busy the model is: there it may make the difference alone."""
    async with scene(time_budget=TimeBudget(budget_s=0.01, decision_s=60.0)) as found:
        pool = found.inspector.pool
        pool._job_s, pool._measured_s = 60.0, pool.monotonic()
        found.set_policy("block", block_at="high")
        assert (await found.risk("evil hint")).action == "blocked"
        assert (await found.risk("hello")).action == "allowed"


async def test_rules_that_are_not_certain_block_nobody_whom_the_model_clears() -> None:
    """Where a tenant blocks below critical, too."""
    async with scene() as found:
        found.set_policy("block", block_at="medium")
        risk = await found.risk("some rules")
        assert (risk.level, risk.action, risk.depth) == ("none", "allowed", "model")
        found.workers[0].done.clear()
        assert (await found.risk("certain")).action == "blocked"
        assert not found.workers[0].done
    async with scene(workers=0) as found:
        found.set_policy("block", block_at="medium")
        assert (await found.risk("some rules")).action == "blocked"


@pytest.mark.parametrize("why", ["slow", "dead", "full"])
async def test_tenant_that_blocks_is_not_got_round_by_keeping_the_model_busy(why: str) -> None:
    """What may have to be blocked is refused for now; what is harmless goes on."""
    hurry = TimeBudget(budget_s=0.01, decision_s=0.05)
    async with scene(
        slow=why == "slow", dead=why == "dead", time_budget=hurry, jobs=0 if why == "full" else 9
    ) as found:
        with pytest.raises(ProblemError) as refused:
            await found.risk("some rules")
        assert (refused.value.problem.status, refused.value.problem.code) == (503, ErrorCode.OVERLOADED)
        assert (await found.risk("hello")).action == "allowed"
        assert (await found.risk("certain")).action == "blocked"


@pytest.mark.parametrize("mode", ["flag", "observe"])
async def test_tenant_that_does_not_block_is_served_without_the_model(mode: Any) -> None:
    """Over its budget the rules' verdict stands."""
    async with scene(slow=True, time_budget=TimeBudget(budget_s=0.01, decision_s=60.0)) as found:
        found.set_policy(mode)
        risk = await found.risk("some rules")
        assert (risk.level, risk.timed_out, risk.depth) == ("medium", True, "rules")


async def test_rules_alone_stand_where_there_shall_be_no_workers() -> None:
    """That is a choice, not a failure."""
    async with scene(workers=0) as found:
        assert (await found.risk("some rules")).level == "medium"
        assert (await found.risk("certain")).action == "blocked"
        assert (await found.risk(LONG + "certain" + LONG)).action == "blocked"


async def test_policy_off_reads_nothing() -> None:
    """Nor is anything said of a risk."""
    async with scene() as found:
        found.set_policy("off")
        [inspected] = await found.inspector.inspect([asked("certain")])
        assert inspected.risk is None
        assert not found.screener.read_texts


async def test_policy_of_one_tenant_is_not_anothers() -> None:
    """The other is blocked as before."""
    async with scene() as found:
        found.set_policy("flag", "lenient")
        assert (await found.risk("certain", "lenient")).action == "flagged"
        assert (await found.risk("certain", "acme")).action == "blocked"


async def test_changed_thresholds_hold_at_once() -> None:
    """What was read under the former ones is read anew."""
    async with scene() as found:
        found.set_policy("observe")
        assert (await found.risk("some rules")).level == "none"  # the model says it is harmless
        found.set_thresholds(low=1, medium=2, high=3, critical=30)
        assert (await found.risk("evil hint")).level == "high"
        found.set_thresholds(low=16, medium=17, high=18, critical=30)
        assert (await found.risk("evil hint")).level == "none"


async def test_thresholds_that_name_no_score_leave_the_installations() -> None:
    """A tenant whose users' requests were limited is judged as before."""
    async with scene() as found:
        found.inspector.time_budget = TimeBudget(thresholds=Thresholds(16, 17, 18, 30))
        assert (await found.risk("evil hint")).level == "none"
        found.set_thresholds(requests_per_hour=(100, 50, 10))
        assert (await found.risk("evil hint")).level == "none"
        found.set_thresholds(requests_per_hour=(100, 50, 10), low=2)
        assert (await found.risk("evil hint")).level == "high"


async def test_thresholds_that_do_not_rise_are_not_used() -> None:
    """A record that got past the administration's check breaks nothing."""
    async with scene() as found:
        found.set_thresholds(low=50, medium=7, high=12, critical=20)
        assert (await found.risk("certain")).level == "critical"


async def test_long_text_is_read_by_a_worker() -> None:
    """The event loop reads none of it."""
    async with scene() as found:
        risk = await found.risk(LONG + "certain" + LONG)
        assert (risk.level, risk.partial) == ("critical", False)
        assert not found.screener.read_texts


@pytest.mark.parametrize("workers", [0, 1])
async def test_long_text_is_read_between_the_streams_where_no_worker_is(workers: int) -> None:
    """A piece at a time: others have their turn after each."""
    async with scene(workers=workers, dead=True) as found:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(others())
        risk = await found.risk(LONG + "certain" + LONG)
        other.cancel()
        assert (risk.level, risk.partial) == ("critical", False)
        assert turns >= len(found.screener.read_texts) > 10


@pytest.mark.parametrize(("mode", "goes_on"), [("block", False), ("flag", True)])
@pytest.mark.parametrize("why", ["dead and full", "full"])
async def test_text_that_cannot_be_read_at_all_is_the_policys_to_decide(
    mode: Any, why: str, *, goes_on: bool
) -> None:
    """Who blocks refuses it for now; others serve it and say that it was not read. The
    streams' time is not taken for a queue that is full.
    """
    async with scene(dead=why != "full", jobs=0) as found:
        if why != "full":
            found.inspector.read_here = SharedRoom(0)
        found.set_policy(mode)
        if not goes_on:
            with pytest.raises(ProblemError, match="could not be inspected"):
                await found.risk(LONG)
        else:
            risk = await found.risk(LONG)
            assert (risk.depth, risk.partial) == ("none", True)
        assert not found.screener.read_texts


async def test_what_was_read_before_is_not_read_again() -> None:
    """A conversation's turns cost only what is new; another tenant's is no news to it."""
    async with scene() as found:
        for _ in range(3):
            await found.risk("evil hint")
        assert len(found.screener.read_texts) == len(found.workers[0].done) == 1
        await found.risk("evil hint", "other")
        assert len(found.screener.read_texts) == len(found.workers[0].done) == 2


async def test_each_prompt_of_a_call_has_its_own_risk() -> None:
    """One that is bad makes the others no worse."""
    async with scene() as found:
        texts = ["hello", "certain", "evil hint"]
        inspected = await found.inspector.inspect([request(prompt=text) for text in texts])
        assert [one.risk.action for one in inspected if one.risk] == ["allowed", "blocked", "flagged"]


async def test_gateway_that_has_not_read_the_rules_serves_nobody() -> None:
    """It is starting: 503, and /ready says so."""
    async with scene() as found:
        found.inspector._screener = None
        with pytest.raises(ProblemError, match="starting"):
            await found.risk("hello")


async def test_text_that_keeps_the_rules_busy_holds_up_nobody() -> None:
    """It is left: refused where the policy blocks, unread elsewhere; with workers and
    without; what comes after it is read as ever.
    """
    async with scene() as found:
        with pytest.raises(ProblemError, match="could not be inspected"):
            await found.risk("endless")
        found.set_policy("flag")
        assert (await found.risk("endless")).level == "none"
        assert (await found.risk("certain")).level == "critical"
    async with scene(dead=True) as found:
        with pytest.raises(ProblemError, match="could not be inspected"):
            await found.risk("endless" + LONG)
        assert (await found.risk("certain")).level == "critical"


async def inspected(found: Scene, *texts: str) -> PromptRisk:
    """The risk of one request of several texts that are not read over their borders."""
    messages = tuple({"role": "assistant", "content": text} for text in texts)
    [one] = await found.inspector.inspect([request(messages=messages)])
    assert one.risk is not None
    return one.risk


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("dead", [False, True])
async def test_texts_beside_one_that_keeps_the_rules_busy_are_read(place: int, *, dead: bool) -> None:
    """Wherever it stands: it is no shield for an attack behind it, and it is told that
    not all was read.
    """
    texts = ["hello", "certain"]
    texts.insert(place, "endless")
    async with scene(dead=dead) as found:
        found.set_policy("flag")
        risk = await inspected(found, *texts, *([LONG] if dead else []))
        assert (risk.level, risk.action, risk.partial) == ("critical", "flagged", True)


async def test_many_texts_that_keep_the_rules_busy_take_two_texts_time() -> None:
    """What is behind them is unread, and that is told; who blocks refuses it."""
    texts = [f"endless {number}" for number in range(9)]
    async with scene() as found:
        found.set_policy("flag")
        risk = await inspected(found, *texts, "certain")
        assert (risk.level, risk.partial) == ("none", True)
        assert found.screener.read_texts == texts[:2]
        found.set_policy("block")
        with pytest.raises(ProblemError, match="could not be inspected"):
            await inspected(found, *texts, "certain")


async def test_short_texts_wait_for_a_bit_of_a_long_one_only() -> None:
    """A tenant's long prompt has a turn at every few pieces, not one for all of it."""
    async with scene(slow=True) as found:
        [worker] = found.workers
        long = asyncio.create_task(found.risk(DIFFERENT, "flood"))
        for _ in range(5):
            await asyncio.sleep(0)
        short = asyncio.create_task(found.risk(LONG[:1300], "calm"))
        for _ in range(5):
            await asyncio.sleep(0)
        worker.go.set()
        await short
        assert sum(len(one["texts"]) for one in worker.done) < 16
        await long


@pytest.mark.parametrize("tenants", [("flood", "calm"), ("calm", "flood")])
async def test_long_texts_of_tenants_are_read_in_turn_where_no_worker_is(tenants: tuple[str, str]) -> None:
    """A piece of each, whoever was first."""
    async with scene(dead=True) as found:
        asking = [
            asyncio.create_task(found.risk(DIFFERENT if one == "flood" else LONG, one)) for one in tenants
        ]
        flood, calm = asking[tenants.index("flood")], asking[tenants.index("calm")]
        await calm
        assert not flood.done()
        await flood


async def test_queue_says_that_it_is_empty_once_nobody_waits() -> None:
    """Jobs for which there was no time are not counted as waiting for ever."""
    async with scene(slow=True, time_budget=TimeBudget(budget_s=0.01, decision_s=0.01)) as found:
        with pytest.raises(ProblemError, match="could not be inspected"):
            await found.risk(DIFFERENT)
        assert metrics.INSPECTION_QUEUED._value.get() == len(found.inspector.pool.queue) == 0
