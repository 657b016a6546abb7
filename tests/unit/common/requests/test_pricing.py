"""Which price holds, and what a request costs by it."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import ModelChanged, ModelPrice
from schemas.inference import Outcome, Usage
from services.common.control.state import ControlState
from services.common.requests.model_catalogue import Price
from services.common.requests.pricing import FREE, UNKNOWN, PriceList, cost_usd, price_of

BASE = Price(input_per_million_usd=Decimal("0.15"), output_per_million_usd=Decimal("0.60"))
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
_TOKENS = st.integers(0, 10**8)
_PRICES = st.decimals(0, 10_000, places=6)


def usage(prompt: int = 0, completion: int = 0, cached: int = 0) -> Usage:
    """Tokens."""
    return Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)


@given(prompt=_TOKENS, cached=_TOKENS, completion=_TOKENS, prices=st.tuples(*[_PRICES] * 4))
def test_cost_is_the_sum_of_its_parts_to_the_last_digit(
    prompt: int, cached: int, completion: int, prices: tuple[Decimal, ...]
) -> None:
    """Whatever the price, nothing is rounded, and the store's twelve decimals hold it."""
    price = Price(
        input_per_million_usd=prices[0],
        cached_input_per_million_usd=prices[1],
        output_per_million_usd=prices[2],
        per_request_usd=prices[3],
    )
    cost = cost_usd(price, usage(prompt, completion, cached), Outcome.COMPLETED)
    reused = min(cached, prompt)
    exact = prices[0] * (prompt - reused) + prices[1] * reused + prices[2] * completion
    assert cost is not None
    assert cost == cost.quantize(Decimal("1e-12"))
    assert (cost - prices[3]) * 1_000_000 == exact


def test_cached_tokens_without_a_price_cost_as_much_as_others() -> None:
    """More than the prompt has cannot be cached."""
    assert cost_usd(BASE, usage(1000, 0, 400), Outcome.COMPLETED) == Decimal("0.00015")
    cheaper = BASE.model_copy(update={"cached_input_per_million_usd": Decimal(0)})
    assert cost_usd(cheaper, usage(1000, 0, 400), Outcome.COMPLETED) == Decimal("0.00009")
    assert cost_usd(cheaper, usage(1000, 0, 4000), Outcome.COMPLETED) == 0


@pytest.mark.parametrize(
    ("price", "tokens", "cost"),
    [
        (UNKNOWN, usage(1, 0), None),
        (UNKNOWN, usage(0, 1), None),
        (Price(output_per_million_usd=Decimal(1)), usage(5, 1), None),
        (Price(output_per_million_usd=Decimal(1)), usage(0, 1), Decimal("0.000001")),
        (Price(input_per_million_usd=Decimal(1)), usage(1, 1), None),
        (FREE, usage(7, 7), Decimal(0)),
    ],
)
def test_unknown_price_gives_no_cost_and_a_price_of_zero_gives_zero(
    price: Price, tokens: Usage, cost: Decimal | None
) -> None:
    """Only what was used needs a price."""
    assert cost_usd(price, tokens, Outcome.COMPLETED) == cost
    assert cost_usd(price, tokens, Outcome.CANCELLED) == cost


@pytest.mark.parametrize(
    "outcome", [Outcome.BLOCKED, Outcome.CANCELLED, Outcome.EXPIRED, Outcome.FAILED, Outcome.CACHE_HIT]
)
def test_request_that_no_model_touched_costs_nothing_at_any_price(outcome: Outcome) -> None:
    """Not the price of a request either, and not an unknown one."""
    dear = Price(per_request_usd=Decimal(5))
    assert cost_usd(dear, usage(), outcome) == 0
    assert cost_usd(UNKNOWN, usage(), outcome) == 0
    assert cost_usd(FREE.model_copy(update={"per_request_usd": Decimal(5)}), usage(1), outcome) == 5


def test_price_begins_with_its_day_in_utc_and_ends_with_the_next() -> None:
    """Before all of them the models file's holds; the caller's zone does not matter."""
    prices = [
        ModelPrice(valid_from=date(2026, 6, day), output_per_million_usd=Decimal(day)) for day in (1, 15)
    ]
    begins = datetime(2026, 6, 15, tzinfo=UTC)
    at = [
        price_of(BASE, prices, moment).output_per_million_usd
        for moment in (
            datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC),
            datetime(2026, 6, 1, tzinfo=UTC),
            begins - timedelta(microseconds=1),
            begins,
            begins.astimezone(timezone(timedelta(hours=-7))),
            NOON + timedelta(days=999),
        )
    ]
    assert at == [BASE.output_per_million_usd, 1, 1, 15, 15, 15]


def test_price_list_follows_the_control_state() -> None:
    """A deleted entry, one without prices and a price that nobody can have entered."""
    entry = ModelChanged(
        model="m", prices=(ModelPrice(valid_from=NOON.date(), output_per_million_usd=Decimal(9)),)
    )
    state = ControlState(models={"m": entry})
    listed = PriceList({"m": BASE, "n": BASE}, lambda: state)
    assert listed.at("m", NOON).output_per_million_usd == 9
    assert listed.of("m")(NOON - timedelta(days=1)) == BASE
    assert (listed.at("n", NOON), listed.at("unheard-of", NOON)) == (BASE, UNKNOWN)
    state = ControlState(models={"m": entry.model_copy(update={"deleted_at": NOON})})
    assert listed.at("m", NOON) == BASE
    state = ControlState(models={"m": entry.model_copy(update={"prices": ()})})
    assert listed.at("m", NOON) == BASE
    forged = ModelPrice(valid_from=NOON.date(), output_per_million_usd=Decimal(-9))
    state = ControlState(models={"m": entry.model_copy(update={"prices": (forged,)})})
    assert listed.at("m", NOON) == UNKNOWN
