"""Whether a request is let in, and how far gateways overshoot together."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.inference import Sampling
from services.common.requests.model_catalogue import ModelConfig, Price
from services.common.requests.pricing import UNKNOWN
from services.gateway.budgets.decision import Admit, BudgetStatus, Reject, RetryLater, decide
from services.gateway.budgets.estimates import SHORTEST_ANSWER, Estimate, estimate
from services.gateway.budgets.reservations import Reservations
from tests.unit.gateway.budgets import book, budget
from tests.unit.gateway.limits.scene import request

[BUDGET] = book(budget()).budgets
DOLLAR = Decimal(1)
MODEL = ModelConfig(name="m", engine="scripted", context_length=1000)
PRICE = Price(
    input_per_million_usd=Decimal(1),
    output_per_million_usd=Decimal(100),
    cached_input_per_million_usd=Decimal(7),
    per_request_usd=Decimal("0.5"),
)


def standing(
    spent: str = "0", reserved: str = "0", lately: str = "0", elsewhere: str = "0", peers: int = 0
) -> BudgetStatus:
    """How a budget of ten dollars stands."""
    return BudgetStatus(BUDGET, Decimal(spent), Decimal(reserved), Decimal(lately), Decimal(elsewhere), peers)


def costing(usd: str, *, capped: bool = True) -> Estimate:
    """A request of a thousand tokens that cost so much together."""
    return Estimate(Decimal(0), Decimal(usd) / 1000, 1, 1000, capped)


@pytest.mark.parametrize(
    ("found", "usd", "let_in"),
    [
        (standing(), "10", True),
        (standing(), "10.001", False),
        (standing(spent="4", reserved="3", elsewhere="2"), "1", True),
        (standing(spent="4", reserved="3", elsewhere="2"), "1.001", False),
        (standing(spent="11"), "0.001", False),
        (standing(spent="11"), "0", True),
    ],
)
def test_request_is_let_in_where_its_whole_cost_is_left(
    found: BudgetStatus, usd: str, *, let_in: bool
) -> None:
    """What is spent, reserved here and reserved elsewhere counts; what is free passes."""
    decision = decide(costing(usd), [standing(), found])
    assert isinstance(decision, Admit if let_in else Reject)
    if isinstance(decision, Admit):
        assert decision == (Decimal(usd), None)


def test_request_that_leaves_its_length_open_is_bounded_by_what_is_left() -> None:
    """By the tightest of its budgets; not below the shortest answer, and a request that
    names its length is refused instead.
    """
    left_one, left_two = standing(spent="9"), standing(spent="8")
    assert decide(costing("4", capped=False), [left_two, left_one]) == Admit(DOLLAR, 250)
    assert isinstance(decide(costing("4"), [left_two, left_one]), Reject)
    least = Decimal("0.004") * SHORTEST_ANSWER
    assert decide(costing("4", capped=False), [standing(spent=str(10 - least))]) == Admit(
        least, SHORTEST_ANSWER
    )
    nearly = standing(spent=str(10 - least + Decimal("0.001")))
    assert isinstance(decide(costing("4", capped=False), [nearly]), Reject)


def test_gateways_give_out_their_part_while_they_have_not_heard_of_each_other() -> None:
    """One request may take all that is left; what comes right after it waits, and is not
    told that the budget is exhausted.
    """
    assert isinstance(decide(costing("8"), [standing(peers=2)]), Admit)
    soon_after = standing(reserved="3", lately="3", peers=2)
    assert soon_after.part == Decimal(10) / 3 - 3
    assert isinstance(decide(costing("3"), [soon_after]), RetryLater)
    assert isinstance(decide(costing("3", capped=False), [soon_after]), RetryLater)
    assert isinstance(decide(costing("0.3"), [soon_after]), Admit)
    assert isinstance(decide(costing("7.5"), [soon_after]), Reject)


@given(
    costs=st.lists(st.integers(1, 400), min_size=1, max_size=60),
    gateways=st.integers(1, 5),
    windows=st.integers(1, 6),
)
def test_gateways_overshoot_by_at_most_one_request_of_each_other(
    costs: list[int], gateways: int, windows: int
) -> None:
    """Whoever asks where and when: within a window no gateway hears of another."""
    asked = iter(costs * 10)
    held = [Decimal(0)] * gateways
    for _ in range(windows):
        heard = list(held)
        for here in range(gateways):
            lately = Decimal(0)
            for cents in _some(asked):
                usd = Decimal(cents) / 100
                elsewhere = sum(heard) - heard[here]
                found = BudgetStatus(BUDGET, Decimal(0), held[here], lately, elsewhere, gateways - 1)
                if isinstance(decide(costing(str(usd)), [found]), Admit):
                    held[here] += usd
                    lately += usd
    assert sum(held) <= BUDGET.limit_usd + (gateways - 1) * Decimal(max(costs)) / 100


def _some(asked: Iterator[int]) -> list[int]:
    return [one for _, one in zip(range(7), asked, strict=False)]


def test_estimate_counts_choices_prompt_bytes_and_the_dearest_price() -> None:
    """No tokenizer gives more tokens than bytes; the template has room."""
    asked = request(prompt="é" * 100, sampling=Sampling(max_tokens=50, n=3))
    found = estimate(asked, MODEL, PRICE)
    assert found is not None
    assert found.capped
    assert found.usd == Decimal("0.5") + Decimal(7) * (200 + 64) / 1_000_000 + Decimal(100) * 150 / 1_000_000
    open_ended = estimate(request(), MODEL, PRICE)
    assert open_ended is not None
    whole = estimate(request(sampling=Sampling()), MODEL, PRICE)
    assert whole is not None
    assert (whole.tokens, whole.capped) == (1000, False)
    default = MODEL.model_copy(update={"default_max_tokens": 20})
    bounded = estimate(request(sampling=Sampling()), default, PRICE)
    assert bounded is not None
    assert (bounded.tokens, bounded.capped, bounded.least_usd) == (20, False, bounded.usd)


def test_estimate_of_a_chat_counts_every_text_in_it() -> None:
    """Names, tools and the wanted format, too: all of it may become the prompt."""
    tool = {"type": "function", "function": {"name": "x" * 500}}
    plain = request(prompt="", messages=({"role": "user", "content": "hi"},))
    rich = request(
        prompt="",
        messages=({"role": "user", "content": [{"type": "text", "text": "hi"}]},),
        sampling=Sampling(max_tokens=16, tools=(tool,), response_format={"schema": {"a": "y" * 300}}),
    )
    costs = [estimate(one, MODEL, PRICE) for one in (plain, rich)]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[1].fixed_usd - costs[0].fixed_usd > Decimal(7) * 800 / 1_000_000


@pytest.mark.parametrize(
    "price", [UNKNOWN, Price(output_per_million_usd=DOLLAR), Price(input_per_million_usd=DOLLAR)]
)
def test_request_without_a_known_price_has_no_estimate(price: Price) -> None:
    """Half a price is none."""
    assert estimate(request(), MODEL, price) is None


def test_reservations_end_with_their_request_or_when_it_cannot_end_any_more() -> None:
    """Each counts under all its budgets; ended twice, it ends once."""
    held = Reservations()
    held.take("r1", ("b1", "b2"), DOLLAR, serial=1, until_s=100)
    held.take("r2", ("b1",), 2 * DOLLAR, serial=2, until_s=50)
    assert [held.held(one) for one in ("b1", "b2", "b3")] == [3, 1, 0]
    assert (held.lately("b1", 0), held.lately("b1", 1), held.lately("b1", 2)) == (3, 2, 0)
    assert (held.total(), len(held)) == (3, 2)
    assert held.release("r1") == ("b1", "b2")
    assert held.release("r1") == ()
    assert held.expire(49) == set()
    assert held.expire(50) == {"b1"}
    assert (held.held("b1"), held.total(), "r2" in held) == (0, 0, False)
    held.forget(["b1", "b2"])
    assert held.budget_ids == frozenset()


def test_reservations_take_no_more_memory_the_more_requests_have_ended() -> None:
    """Long before they could not end any more; those that are left still expire."""
    held = Reservations()
    held.take("first", ("b1",), DOLLAR, serial=1, until_s=400)
    for number in range(20_000):
        held.take(f"r{number}", ("b1",), DOLLAR, serial=1 + number // 500, until_s=500 + number / 1000)
        held.release(f"r{number}")
    assert len(held._ends) <= 2048
    assert len(held._held["b1"].lately) == 40
    assert held.expire(400) == {"b1"}
    assert (held.held("b1"), held.total(), len(held)) == (0, 0, 0)


def test_cost_of_what_ended_is_told_until_the_others_have_counted_it() -> None:
    """In the order in which ends were read; where nobody says, for a while."""
    held = Reservations()
    for number, cents in enumerate((3, 4)):
        held.take(f"r{number}", ("b1",), DOLLAR, serial=1, until_s=100)
        held.end(f"r{number}", Decimal(cents), partition=number, offset=7, now_s=float(number))
    assert (held.held("b1"), held.told("b1")) == (0, 7)
    assert held.forget_ended(lambda partition, _offset: partition == 1, 99.0) == set()
    assert held.forget_ended(lambda _partition, _offset: None, 0.5) == {"b1"}
    assert held.told("b1") == 4
    assert held.forget_ended(lambda partition, offset: (partition, offset) == (1, 7), 0.0) == {"b1"}
    assert held.told("b1") == 0
