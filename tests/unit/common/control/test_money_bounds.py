"""Prices and limits that nobody can mean are refused where they are entered."""

from decimal import Decimal

import pytest

from schemas.control import BudgetChanged, ModelChanged, ModelPrice, Subject
from services.common.control.errors import InvalidChangeError
from services.common.control.state import ControlState
from services.common.control.validation import require_valid
from tests.unit.common.control.entries import NOW

_PRICES = (
    "input_per_million_usd",
    "cached_input_per_million_usd",
    "output_per_million_usd",
    "per_request_usd",
)


def budget(limit: str) -> BudgetChanged:
    """A budget of the default tenant's."""
    return BudgetChanged(
        budget_id="b",
        tenant="default",
        subject=Subject(kind="tenant", id="default"),
        period="day",
        limit_usd=Decimal(limit),
        created_at=NOW,
    )


def model(field: str, dollars: str) -> ModelChanged:
    """A model with one price."""
    price = ModelPrice.model_validate({"valid_from": NOW.date(), field: dollars})
    return ModelChanged(model="m", prices=(price,))


@pytest.mark.parametrize("limit", ["-0.01", "1e13", "1e40", "0.0000001", "1.0000005"])
def test_limit_that_nobody_can_mean_is_refused(limit: str) -> None:
    """Below nothing, beyond all money, finer than prices are."""
    with pytest.raises(InvalidChangeError) as refused:
        require_valid(ControlState(), budget(limit))
    assert refused.value.field == "limit_usd"


@pytest.mark.parametrize("field", _PRICES)
@pytest.mark.parametrize("dollars", ["-0.01", "10000.000001", "1e30", "0.0000001"])
def test_price_that_the_store_cannot_bear_is_refused(field: str, dollars: str) -> None:
    """A request of it would be set aside, or rounded."""
    with pytest.raises(InvalidChangeError) as refused:
        require_valid(ControlState(), model(field, dollars))
    assert refused.value.field == f"prices.0.{field}"


@pytest.mark.parametrize("dollars", ["0", "0.000001", "10000"])
def test_prices_and_limits_at_their_edges_are_taken(dollars: str) -> None:
    """Free, the finest and the dearest."""
    require_valid(ControlState(), budget(dollars))
    for field in _PRICES:
        require_valid(ControlState(), model(field, dollars))
