"""Whom a gateway lets in."""

import contextlib

import pytest

from schemas.control import Limits, TenantChanged
from schemas.inference import Sampling
from services.common.control.state import ControlState
from services.common.http.problems import ProblemError
from tests.unit.gateway.limits.scene import NOW, LimitsScene, caller, request


async def admitted(scene: LimitsScene, count: int, limits: Limits | None = None, **fields: object) -> int:
    """How many of so many requests are let in."""
    count_in = 0
    for _ in range(count):
        with contextlib.suppress(ProblemError):
            await scene.admit(caller(limits), [request(**fields)])
            count_in += 1
    return count_in


async def test_ten_a_minute_a_key_lets_ten_in_and_then_one_every_six_seconds() -> None:
    """The seed's plain default, as a preset."""
    scene = LimitsScene("plain")
    assert await admitted(scene, 50) == 10
    scene.time_s += 5.9
    assert await admitted(scene, 1) == 0
    scene.time_s += 0.2
    assert await admitted(scene, 5) == 1
    scene.time_s += 60
    assert await admitted(scene, 50) == 10


async def test_answer_tells_how_the_limits_stand() -> None:
    """Requests and tokens, the tightest of each, reservations counted."""
    scene = LimitsScene("key.requests_per_minute=10,tenant.requests_per_minute=3,key.tokens_per_minute=200")
    [let_in] = await scene.admit(caller(), [request()])
    assert dict(let_in.headers) == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "20s",
        "x-ratelimit-limit-tokens": "200",
        "x-ratelimit-remaining-tokens": "180",
        "x-ratelimit-reset-tokens": "6s",
    }


async def test_refusal_carries_headers_of_limits_and_of_the_wait() -> None:
    """Which limit, how it stands, and when to come back; nothing was taken by it."""
    scene = LimitsScene("key.requests_per_minute=2,tenant.tokens_per_minute=1000")
    await admitted(scene, 2)
    for _ in range(5):
        with pytest.raises(ProblemError) as refused:
            await scene.admit(caller(), [request()])
    headers = dict(refused.value.problem.headers)
    assert "this API key may have 2 requests a minute. Try again in 30s." in refused.value.problem.message
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("30", "30000")
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-remaining-tokens"] == "960"


async def test_tokens_are_reserved_and_settled_with_what_was_used() -> None:
    """Four of the prompt and sixteen of the answer; what was not used is free again."""
    scene, limits = LimitsScene(), Limits(tokens_per_minute=40)
    all_in = [(await scene.admit(caller(limits), [request()]))[0] for _ in range(2)]
    assert await admitted(scene, 1, limits) == 0
    all_in[0].settle(4, 6)
    all_in[1].settle(4, 16)
    assert await admitted(scene, 1, limits) == 0  # 30 of 40 are used, 20 more are asked for
    scene.time_s += 16
    assert await admitted(scene, 2, limits) == 1


@pytest.mark.parametrize("end", ["given back", "never begun"])
async def test_request_of_which_nothing_came_takes_no_tokens(end: str) -> None:
    """Refused by the bus, or taken back in the queue."""
    scene, limits = LimitsScene(), Limits(tokens_per_minute=20)
    [let_in] = await scene.admit(caller(limits), [request()])
    if end == "given back":
        let_in.give_back()
    else:
        let_in.settle_delivered(0, begun=False)
    assert await admitted(scene, 2, limits) == 1


@pytest.mark.parametrize(
    ("defaults", "later_s", "left"),
    [
        ("key.requests_per_minute=3", 0.0, 3),
        ("key.requests_per_minute=3,tenant.requests_per_minute=2,user.requests_per_minute=9", 0.0, 2),
        ("key.requests_per_minute=3", 5.0, 3),
        ("key.requests_per_minute=60", 40.0, 60),
    ],
)
async def test_request_that_was_never_begun_has_used_no_limit(
    defaults: str, later_s: float, left: int
) -> None:
    """Of whomever; saying so twice gives it back once."""
    scene = LimitsScene(defaults)
    [let_in] = await scene.admit(caller(user="jo"), [request()])
    scene.time_s += later_s
    for _ in range(2):
        let_in.give_back()
    assert await admitted(scene, 99, user="jo") == left
    scene.exchange(other := LimitsScene(defaults, "g2"))
    assert await admitted(other, 9, user="jo") == 0


async def test_request_that_others_heard_of_is_given_back_here_only() -> None:
    """They count it until time gives it back; nothing negative is told."""
    one, two = (LimitsScene("key.requests_per_minute=3", name) for name in ("g1", "g2"))
    [let_in] = await one.admit(caller(), [request()])
    one.exchange(two)
    let_in.give_back()
    assert not one.peer_usage.take(0.0).used
    assert await admitted(two, 9) == 2


async def test_cut_answer_takes_what_was_heard_of_it_and_the_prompt() -> None:
    """The client left while it ran: nobody tells this gateway its usage."""
    scene, limits = LimitsScene(), Limits(tokens_per_minute=60)
    [let_in] = await scene.admit(caller(limits), [request()])
    let_in.settle_delivered(9, begun=True)
    let_in.settle(1000, 1000)  # the first word counts
    assert scene.limiter.meters.of("key:key00001:tokens", scene.time_s).used_s(scene.time_s) == 13


async def test_stream_that_goes_on_at_another_gateway_keeps_what_was_reserved() -> None:
    """Or reattaching would make its tokens free."""
    scene, limits = LimitsScene(), Limits(tokens_per_minute=60)
    [let_in] = await scene.admit(caller(limits), [request()])
    let_in.keep()
    assert scene.limiter.meters.of("key:key00001:tokens", scene.time_s).used_s(scene.time_s) == 20


async def test_streams_at_a_time_are_counted_until_they_end() -> None:
    """However they end, once."""
    scene, limits = LimitsScene(), Limits(concurrent_streams=2)
    all_in = [(await scene.admit(caller(limits), [request()]))[0] for _ in range(2)]
    assert await admitted(scene, 3, limits) == 0
    for _ in range(3):
        all_in[0].settle(0, 0)
    assert await admitted(scene, 3, limits) == 1


async def test_prompts_of_one_call_are_let_in_together_or_not_at_all() -> None:
    """Nothing is begun that the third of three would exceed."""
    scene, limits = LimitsScene(), Limits(requests_per_minute=4)
    assert len(await scene.admit(caller(limits), [request()] * 3)) == 3
    with pytest.raises(ProblemError):
        await scene.admit(caller(limits), [request()] * 2)
    assert len(await scene.admit(caller(limits), [request()])) == 1


async def test_choices_count_as_requests_and_tokens_each() -> None:
    """`n` is no way around a limit."""
    scene, limits = LimitsScene(), Limits(requests_per_minute=10)
    three = Sampling(n=3, max_tokens=16)
    assert await admitted(scene, 10, limits, sampling=three) == 3
    tokens = LimitsScene()
    [let_in] = await tokens.admit(caller(Limits(tokens_per_minute=100)), [request(sampling=three)])
    assert dict(let_in.headers)["x-ratelimit-remaining-tokens"] == str(100 - 4 - 3 * 16)


async def test_limit_of_zero_lets_nobody_in_and_says_so_for_good() -> None:
    """Waiting does not help."""
    for limits in (
        Limits(requests_per_minute=0),
        Limits(tokens_per_minute=0),
        Limits(concurrent_streams=0),
    ):
        scene = LimitsScene()
        with pytest.raises(ProblemError) as refused:
            await scene.admit(caller(limits), [request()])
        assert ("x-should-retry", "false") in refused.value.problem.headers


async def test_request_larger_than_its_token_limit_needs_the_whole_of_it() -> None:
    """It is let in alone, and what it took beyond the limit is waited off."""
    scene, limits = LimitsScene(), Limits(tokens_per_minute=10)
    [let_in] = await scene.admit(caller(limits), [request()])
    let_in.settle(4, 16)
    scene.time_s += 119
    assert await admitted(scene, 1, limits) == 0
    scene.time_s += 2
    assert await admitted(scene, 1, limits) == 1


async def test_users_limit_binds_all_keys_of_the_user_and_no_name_in_the_body() -> None:
    """A client that names another user in each request is limited all the same."""
    scene = LimitsScene("user.requests_per_minute=2")
    count = 0
    for number in range(6):
        try:
            await scene.admit(caller(key_id=f"key0000{number}", user="ann"), [request(user=f"u_{number}")])
        except ProblemError:
            continue
        count += 1
    assert count == 2


async def test_tenants_do_not_share_a_limit() -> None:
    """Each has its own, and a control entry goes before the default."""
    scene = LimitsScene("tenant.requests_per_minute=1")
    scene.state = ControlState(
        tenants={"big": TenantChanged(tenant="big", created_at=NOW, limits=Limits(requests_per_minute=3))}
    )
    counts = {}
    for tenant in ("big", "a", "b"):
        counts[tenant] = 0
        for _ in range(5):
            try:
                await scene.admit(caller(tenant=tenant, key_id=f"k{tenant}"), [request()])
            except ProblemError:
                continue
            counts[tenant] += 1
    assert counts == {"big": 3, "a": 1, "b": 1}


async def test_use_at_one_gateway_counts_at_the_others_once_they_heard_of_it() -> None:
    """Requests, reserved tokens and streams alike."""
    for text, takes in (
        ("key.requests_per_minute=4", 4),
        ("key.tokens_per_minute=80", 4),
        ("key.concurrent_streams=4", 4),
    ):
        one, two = LimitsScene(text, "g1"), LimitsScene(text, "g2")
        assert await admitted(one, 3) == 3
        one.exchange(two)
        assert await admitted(two, 3) == takes - 3
        two.exchange(one)
        assert await admitted(one, 1) == 0


async def test_flood_over_three_gateways_exceeds_by_no_more_than_what_two_did_not_hear() -> None:
    """At worst each lets a whole limit in before it hears of the others; that is paid
    back, and does not repeat.
    """
    scenes = [LimitsScene("plain", f"g{number}") for number in range(3)]
    total = 0
    for second in range(180):
        for scene in scenes:
            total += await admitted(scene, 20)
        scenes[0].exchange(*scenes[1:])
        for scene in scenes:
            scene.time_s += 1
        if second == 0:
            assert total == 30
    assert total <= 10 + 10 * 3 + 2
    assert all(scene.peer_usage.live == 2 for scene in scenes)


async def test_fast_use_hurries_the_news_and_slow_use_does_not() -> None:
    """A tenth of a limit at once is told soon."""
    scene = LimitsScene("key.requests_per_minute=100")
    await admitted(scene, 9)
    assert scene.told == 0
    await admitted(scene, 2)
    assert scene.told >= 1


async def test_unlimited_request_leaves_no_trace() -> None:
    """And its answer has no headers."""
    scene = LimitsScene()
    [let_in] = await scene.admit(caller(), [request()])
    let_in.settle(4, 4)
    assert (let_in.headers, len(scene.limiter.meters), scene.peer_usage.has_news) == ((), 0, False)
