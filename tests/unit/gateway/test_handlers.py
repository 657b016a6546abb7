"""What the gateway does for its clients, without a bus."""

from decimal import Decimal

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from schemas.base import TenantTurn
from schemas.control import Subject, TenantChanged
from schemas.inference import Lane, QueueStatus
from services.common.control.principal import principal_of
from services.common.control.state import ControlState
from services.common.http.problems import ProblemError, unavailable
from services.common.identity import pseudonym, pseudonym_of_named
from services.gateway.bus.publisher import MayHaveBegunError
from services.gateway.openai.requests import CompletionBody
from tests.unit.common.control.entries import signed_key
from tests.unit.gateway.budgets import budget, spend_key
from tests.unit.gateway.limits.scene import caller, request
from tests.unit.gateway.serving import NOW, ask, serving_of
from tests.unit.gateway.streams.stage import make_stage


@pytest.mark.parametrize(
    ("prompts", "takes"), [(["a", "b"], 1), (["a", "b", "c", "d"], 3), (["a", "b"], 0), (["a"], 0)]
)
async def test_bus_that_leaves_midway_is_503_that_says_what_had_begun(prompts: list[str], takes: int) -> None:
    """Nothing was begun only where nothing was; what was is cancelled."""
    stage = make_stage()
    _, key = signed_key()
    asking = principal_of(key)
    body = CompletionBody(model="m", prompt=prompts)
    with pytest.raises(ProblemError) as refused:
        await ask(serving_of(stage, takes), asking, body)
    problem = refused.value.problem
    assert (problem.status, problem.code) == (503, "bus_unavailable")
    assert ("nothing was begun" in problem.message) is (takes == 0)
    assert (f"Prompt {takes + 1} of {len(prompts)}" in problem.message) is (takes > 0)
    stage.tick()
    assert len(stage.publisher.cancelled) == takes
    assert stage.registry.serving == 0


@pytest.mark.parametrize(("prompts", "takes"), [(2, 0), (3, 2)])
async def test_bus_that_leaves_midway_gives_back_what_was_reserved(prompts: int, takes: int) -> None:
    """Of prompts that were begun, and of those that were not; its 503 tells the limits."""
    stage = make_stage()
    serving = serving_of(stage, takes, "key.tokens_per_minute=10000,key.requests_per_minute=50")
    body = CompletionBody(model="m", prompt=["a"] * prompts)
    with pytest.raises(ProblemError) as refused:
        await ask(serving, caller(), body)
    stage.tick()
    assert serving.limits.limiter.meters.of("key:key00001:tokens", 0.0).held == 0
    assert dict(refused.value.problem.headers)["x-ratelimit-limit-requests"] == "50"
    headers, _ = await serving.limits.admit(caller(), [request()])
    assert dict(headers)["x-ratelimit-remaining-requests"] == str(50 - takes - 1)


async def test_prompts_beyond_a_limit_are_refused_before_any_is_published() -> None:
    """The fourth of four would exceed it."""
    serving = serving_of(make_stage(), 9, "key.requests_per_minute=3")
    body = CompletionBody(model="m", prompt=["a"] * 4)
    with pytest.raises(ProblemError) as refused:
        await ask(serving, caller(), body)
    assert (refused.value.problem.status, serving.publisher.taken) == (429, [])
    assert refused.value.request_id.startswith("cmpl-")


@pytest.mark.parametrize(("prompts", "takes"), [(2, 0), (3, 1)])
async def test_bus_that_leaves_midway_frees_the_money_of_what_was_not_begun(prompts: int, takes: int) -> None:
    """What was begun holds its own until its end is read."""
    serving = serving_of(make_stage(), takes, budgets=(budget(),))
    body = CompletionBody(model="m", prompt=["a"] * prompts, max_tokens=100)
    with pytest.raises(ProblemError):
        await ask(serving, caller(), body)
    held = serving.budgets.reservations
    assert [one.request_id in held for one in serving.publisher.taken] == [True] * takes
    assert len(held) == takes


async def test_uncertain_refusal_keeps_the_money_until_the_end_is_known() -> None:
    """The log may have the request: what it costs may still come."""
    serving = serving_of(make_stage(), 0, budgets=(budget(),))
    serving.publisher.error = MayHaveBegunError(unavailable("It may have begun.").problem)
    body = CompletionBody(model="m", prompt="a", max_tokens=100)
    with pytest.raises(ProblemError):
        await ask(serving, caller(), body)
    assert len(serving.budgets.reservations) == 1


async def test_budget_refusal_takes_nothing_of_limits() -> None:
    """Whoever asks again and again is told of the budget, not of a limit; its place is
    free again.
    """
    stage = make_stage()
    serving = serving_of(
        stage,
        9,
        "key.tokens_per_minute=10000,key.requests_per_minute=2",
        budgets=(budget(limit_usd=Decimal(0)),),
    )
    body = CompletionBody(model="m", prompt="a", max_tokens=100)
    for _ in range(5):
        with pytest.raises(ProblemError) as refused:
            await ask(serving, caller(), body)
        assert (refused.value.problem.code, serving.publisher.taken) == ("insufficient_quota", [])
    assert (len(serving.limits.limiter.meters), stage.registry.followed) == (0, 0)


async def test_owner_of_a_key_is_the_user_of_its_requests_whatever_the_body_says() -> None:
    """A client that names somebody else, or another each time, stays under its budget;
    whom a key without an owner names is nobody who calls, whatever the name.
    """
    serving = serving_of(make_stage(), 9)
    users = []
    for owner, named in (("jo", "someone"), ("jo", None), ("", "someone"), ("", "jo"), ("", None)):
        body = CompletionBody(model="m", prompt="a", user=named)
        await ask(serving, caller(user=owner), body)
        users.append(serving.publisher.taken[-1].user)
    key = serving.settings.pseudonym_key.get_secret_value()
    jo = pseudonym(key, tenant="acme", user="jo")
    named = [pseudonym_of_named(key, tenant="acme", user=one) for one in ("someone", "jo")]
    assert users == [jo, jo, *named, ""]


@pytest.mark.parametrize("owner", ["alice", "Zoë Müller", "n_0", "u_0"])
async def test_naming_an_entered_user_spends_none_of_their_budget_and_taints_nothing(owner: str) -> None:
    """By a key without an owner: their budget counts what they ask for themselves, and
    what was found in such a request is told of another user.
    """
    entry = budget(subject=Subject(kind="user", id=f"acme/{owner}"), limit_usd=Decimal("0.1"))
    serving = serving_of(make_stage(), 9, budgets=(entry,))
    serving.requests.settings = serving.settings.model_copy(
        update={"pseudonym_key": SecretStr("a pseudonym key for tests")}
    )
    for asking in (caller(), caller(), caller(user=owner)):
        await ask(serving, asking, CompletionBody(model="m", prompt="a", max_tokens=100, user=owner))
    assert serving.budgets.reservations.held(entry.budget_id) == Decimal("0.1")
    theirs = spend_key(entry).spender.id
    assert [one.user == theirs for one in serving.publisher.taken] == [False, False, True]


async def test_request_that_is_refused_is_counted_by_model() -> None:
    """For a limit, or because the bus does not take it; each prompt is a request."""

    def refused() -> float:
        labels = {"model": "m", "status": "refused"}
        return REGISTRY.get_sample_value("llm_requests_total", labels) or 0.0

    before = refused()
    for defaults, takes in (("key.requests_per_minute=1", 9), ("", 0)):
        scene = serving_of(make_stage(), takes, defaults)
        body = CompletionBody(model="m", prompt=["a", "b"])
        with pytest.raises(ProblemError):
            await ask(scene, caller(), body)
    assert refused() == before + 2 + 1


@pytest.mark.parametrize(("wait_ms", "served"), [(100.0, True), (1e7, False)])
async def test_place_in_the_queue_is_told_with_the_answer_or_the_refusal(
    wait_ms: float, *, served: bool
) -> None:
    """A request that would come too late is not published, and takes nothing of a limit."""
    stage = make_stage()
    status = QueueStatus(
        dispatcher_id="d",
        model="m",
        host="h",
        pid=1,
        active=True,
        eta_ms=wait_ms,
        turns={Lane.INTERACTIVE: (TenantTurn(tenant="other", waiting=40, share=7),)},
    )
    stage.registry.queue_positions.monotonic = lambda: 0.0
    stage.registry.queue_positions._queues["m"] = status, 0.0
    serving = serving_of(stage, 9, "key.requests_per_minute=3")
    body = CompletionBody(model="m", prompt="a")
    asking = ask(serving, caller(), body)
    if served:
        [reply_stream] = await asking
        headers = dict(reply_stream.admitted.headers)
        assert (headers["x-queue-position"], headers["x-queue-eta-ms"]) == ("8", "800")
        assert headers["x-ratelimit-remaining-requests"] == "2"
        stage.registry.release(reply_stream)
        stage.tick()
    else:
        with pytest.raises(ProblemError) as refused:
            await asking
        assert (refused.value.problem.status, refused.value.problem.code) == (503, "overloaded")
        assert (serving.publisher.taken, len(serving.limits.limiter.meters)) == ([], 0)


@pytest.mark.parametrize(("share", "told"), [(3.0, 3.0), (1.0, None)])
async def test_request_carries_its_tenants_share_unless_it_is_one(share: float, told: float | None) -> None:
    """The dispatcher, which does not read the control state, weighs its turn by it."""
    serving = serving_of(make_stage(), 1)
    tenant = TenantChanged(tenant="acme", created_at=NOW, share=share)
    serving.control.state = ControlState(tenants={"acme": tenant})
    body = CompletionBody(model="m", prompt="a")
    await ask(serving, caller(), body)
    assert serving.publisher.taken[0].share == told
