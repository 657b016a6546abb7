"""The generic cell rate algorithm, held to its own promise."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.control.limits import LimitKind, Rule
from services.gateway.limits.limiter import Allowance, Cost, LocalLimits, Reservation
from services.gateway.limits.meters import LONGEST_DEBT_S, Meter, Meters
from services.gateway.limits.peer_usage import PeerUsage

STEPS = st.lists(st.tuples(st.floats(0, 90, allow_nan=False), st.integers(1, 5)), min_size=1, max_size=120)


def limiter() -> LocalLimits:
    """A gateway that is alone."""
    return LocalLimits(PeerUsage("g", "g/1"))


@given(steps=STEPS, limit=st.integers(1, 40), period_s=st.sampled_from([1.0, 60.0, 3600.0]))
def test_requests_admitted_in_any_window_stay_within_burst_and_rate(
    steps: list[tuple[float, int]], limit: int, period_s: float
) -> None:
    """However they come: in any window at most N and N for each period of it."""
    rule, limits, now_s = Rule("r", "key", LimitKind.REQUESTS, limit, period_s), limiter(), 1000.0
    admitted: list[tuple[float, int]] = []
    for pause_s, count in steps:
        now_s += pause_s * period_s / 60
        cost = Cost(count, 0)
        if limits.refusal([rule], cost, now_s) is None:
            limits.take([rule], [cost], now_s)
            admitted.append((now_s, count))
    for first, (begin_s, _) in enumerate(admitted):
        total = 0
        for at_s, count in admitted[first:]:
            total += count
            assert total <= limit + limit * (at_s - begin_s) / period_s + 1e-6


@given(steps=STEPS, limit=st.integers(1, 40))
def test_refused_request_is_let_in_when_it_was_told_to_come_back(
    steps: list[tuple[float, int]], limit: int
) -> None:
    """Not before, and then surely: `wait_s` is exact where nobody else asks."""
    rule, limits, now_s = Rule("r", "key", LimitKind.REQUESTS, limit), limiter(), 1000.0
    for pause_s, count in steps:
        now_s += pause_s
        cost = Cost(count, 0)
        refused = limits.refusal([rule], cost, now_s)
        if refused is None:
            limits.take([rule], [cost], now_s)
        elif refused.wait_s is None:
            assert count > limit
        else:
            assert limits.refusal([rule], cost, now_s + refused.wait_s * 0.99 - 1e-3) is not None
            assert limits.refusal([rule], cost, now_s + refused.wait_s) is None


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 20), st.integers(1, 400), st.integers(0, 1000), st.integers(0, 9)), max_size=80
    ),
    limit=st.integers(1, 500),
)
def test_settled_tokens_in_any_window_stay_within_burst_and_rate(
    steps: list[tuple[float, int, int, int]], limit: int
) -> None:
    """Where no answer takes more than was reserved. Nothing that was given back is ever
    left behind, and no meter runs away.
    """
    rule, limits, now_s = Rule("t", "key", LimitKind.TOKENS, limit), limiter(), 1000.0
    running, settled = [], list[tuple[float, int]]()

    def settle(used: int) -> None:
        reservation = running.pop(0)
        took = min(used, reservation.tokens, limit)
        limits.settle(reservation, took, now_s)
        settled.append((now_s, took))

    for pause_s, estimate, used, end in steps:
        now_s += pause_s
        if limits.refusal([rule], Cost(1, estimate), now_s) is None:
            running += limits.take([rule], [Cost(1, estimate)], now_s)
        if running and end < 6:
            settle(used)
        meter = limits.meters.of("t", now_s)
        assert meter.held >= 0
        assert meter.used_s(now_s) <= 60 + 1e-6
    while running:
        settle(0)
    assert limits.meters.of("t", now_s).held == 0
    for first, (begin_s, _) in enumerate(settled):
        total = 0
        for at_s, took in settled[first:]:
            total += took
            assert total <= limit + limit * (at_s - begin_s) / 60 + 1e-6


@given(
    steps=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 3), st.integers(0, 5)), max_size=80),
    limit=st.integers(1, 50),
)
def test_requests_that_were_given_back_are_never_admitted_twice(
    steps: list[tuple[float, int, int]], limit: int
) -> None:
    """What was kept stays within burst and rate, however late the rest is given back;
    what is given back at once is whole again.
    """
    rule, limits, now_s = Rule("r", "key", LimitKind.REQUESTS, limit), limiter(), 1000.0
    kept = list[tuple[float, Reservation]]()
    for pause_s, count, which in steps:
        now_s += pause_s
        before = limits.tightest([rule], now_s)[rule.kind].remaining
        if limits.refusal([rule], Cost(count, 1), now_s) is None:
            kept += ((now_s, reservation) for reservation in limits.take([rule], [Cost(count, 1)], now_s))
            if not which:
                limits.give_back(kept.pop()[1], now_s)
                assert limits.tightest([rule], now_s)[rule.kind].remaining == before
        if kept and which > 3:
            limits.give_back(kept.pop(which % len(kept))[1], now_s)
    for first, (begin_s, _) in enumerate(kept):
        total = 0
        for at_s, reservation in kept[first:]:
            total += reservation.used[0][1]
            assert total <= limit + limit * (at_s - begin_s) / 60 + 1e-6


@given(tokens=st.lists(st.integers(1, 200), min_size=1, max_size=12), limit=st.integers(1, 500))
def test_prompts_of_one_call_hold_together_what_was_asked_for_them(tokens: list[int], limit: int) -> None:
    """No more than the limit, which is what the shared store is asked for; settling each
    takes away what it added, and nothing of others.
    """
    rule, limits = Rule("t", "key", LimitKind.TOKENS, limit), limiter()
    [other] = limits.take([rule], [Cost(1, 7)], 0.0)
    reservations = limits.take([rule], [Cost(1, one) for one in tokens], 0.0)
    assert sum(amount for reservation in reservations for _, _, amount in reservation.held) == min(
        sum(tokens), limit
    )
    for reservation in reservations:
        limits.settle(reservation, 0, 0.0)
    assert limits.meters.of("t", 0.0).held == min(7, limit)
    limits.settle(other, 0, 0.0)
    assert limits.meters.of("t", 0.0).held == 0


@given(seconds=st.lists(st.floats(0, 1e12, allow_nan=False), max_size=20), pauses=st.lists(st.floats(0, 10)))
def test_meter_stays_finite_whatever_is_used(seconds: list[float], pauses: list[float]) -> None:
    """An answer a thousand times larger than its estimate blocks nobody for ever."""
    meter, now_s = Meter(), 5.0
    for amount, pause_s in zip(seconds, pauses, strict=False):
        now_s += pause_s
        meter.use(amount, now_s)
        assert 0 <= meter.used_s(now_s) <= LONGEST_DEBT_S
        assert math.isfinite(meter.full_at_s)


def test_meters_beyond_their_number_are_forgotten_idle_ones_first() -> None:
    """A reservation is never forgotten, a use only where nothing else can go."""
    meters = Meters(capacity=3)
    meters.of("held", 0.0).held = 5
    meters.of("used", 0.0).use(30, 0.0)
    meters.of("idle", 0.0)
    meters.of("new", 1.0)
    assert (len(meters), meters.forgotten) == (3, 0)
    assert meters.of("held", 1.0).held == 5
    assert meters.of("used", 1.0).used_s(1.0) == 29
    meters.of("new", 1.0).use(1, 1.0)
    meters.of("another", 1.0)
    assert (len(meters), meters.forgotten) == (3, 1)
    assert meters.of("held", 1.0).held == 5


def test_tightest_is_the_limit_of_which_least_remains_of_each_kind() -> None:
    """Of two of which as little remains the smaller one; streams have no figure."""
    limits, now_s = limiter(), 1000.0
    rules = [
        Rule("a", "key", LimitKind.REQUESTS, 100),
        Rule("b", "user", LimitKind.REQUESTS, 10),
        Rule("c", "tenant", LimitKind.TOKENS, 1000),
        Rule("d", "key", LimitKind.STREAMS, 1),
    ]
    limits.take(rules, [Cost(4, 100)], now_s)
    assert limits.tightest(rules, now_s) == {
        LimitKind.REQUESTS: Allowance(10, 6, pytest.approx(24.0)),
        LimitKind.TOKENS: Allowance(1000, 900, pytest.approx(6.0)),
    }
    limits.take([rules[0]], [Cost(90, 0)], now_s)
    assert limits.tightest(rules, now_s)[LimitKind.REQUESTS].limit == 10
    assert limits.tightest([rules[3]], now_s) == {}


def test_limit_of_somebody_who_is_long_gone_is_not_remembered() -> None:
    """Once it is whole again and another request comes: its name tells who was here. What
    is reserved stays, and tokens that are told later than that count.
    """
    limits = limiter()
    gone, busy = [Rule(f"{who}", "user", LimitKind.TOKENS, 60, 60.0) for who in ("gone", "busy")]
    (done,) = limits.take([gone], [Cost(1, 30)], 0.0)
    limits.settle(done, 30, 0.0)
    (late,) = limits.take([busy], [Cost(1, 0)], 1.0)
    assert set(limits.meters._meters) == {"gone", "busy"}
    (held,) = limits.take([Rule("held", "user", LimitKind.TOKENS, 60, 60.0)], [Cost(1, 9)], 40.0)
    limits.take([Rule("other", "user", LimitKind.TOKENS, 60, 60.0)], [Cost(1, 9)], 900.0)
    assert set(limits.meters._meters) == {"held", "other"}
    limits.settle(late, 60, 900.0)
    assert limits.refusal([busy], Cost(1, 9), 900.0) is not None
    assert held.held
