"""Waits against known figures and a simulation; advice against what it was told."""

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.console.domain.capacity.advice import Advice, ExpectedRequests, Goal, Load, Replica, advise
from services.console.domain.capacity.measurements import (
    Refused,
    Service,
    burstiness_of,
    service_of,
    service_of_tokens,
)
from services.console.domain.capacity.queueing import Demand, erlang_c, slots_for, wait_s
from tests.benchmarks.analytics.queue_simulation import arrivals, p95, services

REPLICA = Replica(slots=4, accelerators=1, cost_per_hour_usd=Decimal("2.50"))
SERVICE = Service(2.0, 2.1, 1.0, 5000)
DEMANDS = st.builds(Demand, st.floats(0, 1000), st.floats(1e-4, 100), st.floats(1, 50), st.floats(0, 25))


def expected(values: np.ndarray) -> Load:
    """Requests of each hour, all bounds alike."""
    hours = [ExpectedRequests(480_000 + place, *[float(one)] * 3) for place, one in enumerate(values)]
    return Load("requests", tuple(hours))


def advised(mean: float, present: int = 2, wait_s: float = 1.0) -> Advice:
    """For requests that come evenly, so many an hour."""
    found = advise(
        expected(np.full(24, mean)),
        service=SERVICE, burstiness=1.0, replica=REPLICA, present=present, goal=Goal(wait_s),
    )  # fmt: skip
    assert isinstance(found, Advice)
    return found


@pytest.mark.parametrize(
    ("slots", "offered", "waiting"), [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (10, 8.0, 0.4092), (5, 5.0, 1.0)]
)
def test_chance_of_waiting_is_erlangs(slots: int, offered: float, waiting: float) -> None:
    """M/M/1's is the load; M/M/2's at half load a third; of 10 and 8 as in Erlang's tables."""
    assert erlang_c(slots, offered) == pytest.approx(waiting, abs=5e-5)


def test_wait_of_one_slot_is_the_exact_one_of_the_textbook() -> None:
    """M/M/1: P(W > t) = load exp(-(1 - load) t / service)."""
    exact = math.log(0.8 / 0.05) * 2 / (1 - 0.8)
    assert wait_s(1, Demand(0.4, 2.0)) == pytest.approx(exact)


@given(DEMANDS, st.integers(1, 300))
def test_more_slots_never_wait_longer(demand: Demand, slots: int) -> None:
    """So bisection finds the fewest."""
    fewer, more = wait_s(slots, demand), wait_s(slots + 1, demand)
    assert more <= fewer * (1 + 1e-9) + 1e-12
    assert not math.isnan(fewer)


@settings(deadline=None)
@given(DEMANDS, st.floats(0, 60))
def test_slots_are_the_fewest_that_hold_the_target(demand: Demand, target_s: float) -> None:
    """One fewer does not."""
    found = slots_for(demand, target_s=target_s, most=2_000)
    if found is None:
        assert wait_s(2_000, demand) > target_s
        return
    assert wait_s(found, demand) <= target_s
    assert found == 1 or wait_s(found - 1, demand) > target_s


@pytest.mark.parametrize(
    ("slots", "load", "burstiness", "spread"),
    [(1, 0.8, 1, 1), (4, 0.85, 1, 0), (4, 0.85, 1, 1), (16, 0.9, 1, 1), (4, 0.85, 3, 1), (16, 0.85, 3, 1)],
)
def test_wait_is_about_that_of_a_simulation(
    slots: int, load: float, burstiness: float, spread: float
) -> None:
    """Within a third, or an eighth of a service time where waits are short."""
    simulated = float(
        np.mean([p95(slots, load, burstiness, spread, seed=seed, count=40_000) for seed in range(3)])
    )
    said = wait_s(slots, Demand(load * slots, 1.0, burstiness, spread))
    assert said == pytest.approx(simulated, rel=1 / 3, abs=1 / 8)


def test_advice_names_what_the_busiest_hour_takes_and_its_cost() -> None:
    """9000 an hour of 2.1 s are 5.25 slots' load; 2 replicas are 8 slots."""
    found = advised(9000, present=1, wait_s=1.5)
    present, fixed, by_hour = found.options
    assert fixed.replicas == by_hour.replicas == (2,) * 24
    assert (fixed.slots, fixed.accelerators, fixed.hours_missed) == (8, 2, 0)
    assert fixed.wait_p95_s == pytest.approx(wait_s(8, Demand(2.5, 2.1)))
    assert fixed.cost_usd == 2 * 24 * Decimal("2.50")
    assert (present.hours_missed, present.wait_p95_s) == (24, math.inf)
    assert present.utilisation == pytest.approx(2.5 * 2.1 / 4)


def test_advice_by_the_hour_costs_less_where_nights_are_quiet() -> None:
    """And holds the goal as well."""
    hours = np.arange(24)
    found = advise(
        expected(np.where(hours % 24 < 8, 100.0, 20_000.0)),
        service=SERVICE, burstiness=2.0, replica=REPLICA, present=0, goal=Goal(0.5, "high95"),
    )  # fmt: skip
    assert isinstance(found, Advice)
    present, fixed, by_hour = found.options
    assert by_hour.cost_usd < fixed.cost_usd
    assert by_hour.hours_missed == fixed.hours_missed == 0
    assert min(by_hour.replicas) == 1
    assert present.hours_missed == 24


def test_advice_without_requests_keeps_one_replica() -> None:
    """Somebody may come."""
    assert advised(0).options[1].replicas == (1,) * 24


def test_advice_on_too_little_is_refused_with_what_is_missing() -> None:
    """Requests measured, minutes counted, hours of history."""
    few = service_of(np.ones(50))
    minutes = burstiness_of(np.ones(30))
    short = Load("requests", (), notes=("5 known hours are too few",))
    whole = expected(np.full(200, 50.0))
    told = {
        "50 requests": advise(whole, service=few, burstiness=1.0, replica=REPLICA, present=1, goal=Goal(1)),
        "30 minutes": advise(
            whole, service=SERVICE, burstiness=minutes, replica=REPLICA, present=1, goal=Goal(1)
        ),
        "no forecast": advise(
            short, service=SERVICE, burstiness=1.0, replica=REPLICA, present=1, goal=Goal(1)
        ),
    }
    for words, found in told.items():
        assert isinstance(found, Refused)
        assert words in found.reason


def test_service_times_of_a_heavy_tail_are_refused() -> None:
    """A mean that one more request would change carries no advice."""
    found = service_of(np.append(np.ones(250), [4000.0, 9000.0]))
    assert isinstance(found, Refused)
    assert "scatter too much" in found.reason


def test_service_comes_of_tokens_and_speed_and_of_what_was_measured() -> None:
    """100 tokens at 50 a second and half a second before the first."""
    found = service_of_tokens(np.full(300, 100.0), np.full(300, 50.0), before_first_s=np.full(300, 0.5))
    assert isinstance(found, Service)
    assert (found.mean_s, found.variation) == (pytest.approx(2.5), pytest.approx(0, abs=1e-12))
    with pytest.raises(ValueError, match="300 tokens, 2 speeds"):
        service_of_tokens(np.ones(300), np.ones(2))


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=400))
def test_measurements_of_anything_are_finite_or_refused(values: list[float]) -> None:
    """NaN, endless, negative, huge."""
    given_values = np.array(values)
    found = service_of(given_values)
    assert isinstance(found, Refused) or (math.isfinite(found.upper_s) and found.mean_s > 0)
    burst = burstiness_of(given_values)
    assert isinstance(burst, Refused) or (math.isfinite(burst) and burst >= 1)
    tokens = service_of_tokens(given_values, given_values[::-1])
    assert isinstance(tokens, Refused) or math.isfinite(tokens.upper_s)


@pytest.mark.parametrize("true", [1.0, 5.0])
def test_burstiness_is_that_of_the_arrivals_whatever_the_time_of_day(true: float) -> None:
    """Within a quarter, over two days whose rate rises and falls threefold."""
    chance = np.random.default_rng(4)
    at = arrivals(chance, 120_000, 1.0, true)
    warped = at + 7000 * np.sin(at / 13_750)
    per_minute = np.histogram(warped, bins=np.arange(0, warped.max(), 60.0))[0].astype(float)
    found = burstiness_of(per_minute)
    assert found == pytest.approx(true, rel=0.25)


def test_simulated_services_have_the_variation_asked_for() -> None:
    """The simulation itself is right."""
    for variation in (0.0, 0.5, 1.0, 4.0):
        found = services(np.random.default_rng(1), 200_000, variation)
        assert np.var(found) / np.mean(found) ** 2 == pytest.approx(variation, rel=0.15, abs=1e-9)


@pytest.mark.parametrize("wait_s", [math.nan, -1.0, math.inf])
def test_advice_for_a_goal_that_cannot_be_is_refused_as_an_error(wait_s: float) -> None:
    """With the value."""
    with pytest.raises(ValueError, match=f"{wait_s}"):
        advised(10, wait_s=wait_s)
