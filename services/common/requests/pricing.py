"""What a request costs, and which price holds for it. Pure.

The models file has a model's base price; control state may give others from a day (UTC)
on. A request pays the price of the moment it was asked at, as it is known when the
request ends: its cost is then in its record, and nothing prices it again.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from schemas.control import ModelPrice
from schemas.inference import Outcome, Usage
from services.common.control.state import ControlState
from services.common.requests.model_catalogue import Price

PriceAt = Callable[[datetime], Price]
"""The price of one model for a request that was asked at this moment."""

_MILLION = Decimal(1_000_000)
_STEP = Decimal(1).scaleb(-12)
"""As fine as the store keeps costs; prices have six decimals, so nothing is rounded."""

UNKNOWN = Price()
FREE = Price(input_per_million_usd=Decimal(0), output_per_million_usd=Decimal(0))


def cost_usd(price: Price, usage: Usage, outcome: Outcome) -> Decimal | None:
    """US dollars for a request; None where its price is not known, which is not free.

    What no model worked on (blocked, over before it began) costs nothing at any price.
    Cached tokens cost as much as others where they have no price of their own.
    """
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if outcome is not Outcome.COMPLETED and not (prompt or completion):
        return Decimal(0)
    cached = min(usage.cached_tokens, prompt)
    parts = (
        (prompt - cached, price.input_per_million_usd),
        (cached, price.cached_rate),
        (completion, price.output_per_million_usd),
    )
    total = price.per_request_usd
    for tokens, per_million in parts:
        if per_million is None:
            if tokens:
                return None
        else:
            total += per_million * tokens / _MILLION
    return total.quantize(_STEP)


def price_of(base: Price, prices: Sequence[ModelPrice], moment: datetime) -> Price:
    """The price that holds at a moment: of those that began, the one that began last;
    before all of them the base.
    """
    day = moment.astimezone(UTC).date()
    begun = [one for one in prices if one.valid_from <= day]
    if not begun:
        return base
    return _checked(max(begun, key=lambda one: one.valid_from))


@functools.lru_cache(maxsize=1024)
def _checked(price: ModelPrice) -> Price:
    """As the models file would have it; what no administrator can have entered (below
    nothing, say) is not known.
    """
    try:
        return Price.model_validate(price.model_dump(exclude={"valid_from"}))
    except ValidationError:
        return UNKNOWN


@dataclass(frozen=True, slots=True)
class PriceStanding:
    """A model's price now: since which day (UTC) it holds, None where it is the models
    file's, and from which day the next one will.
    """

    price: Price
    since: date | None = None
    next_from: date | None = None

    def told(self) -> dict[str, Any]:
        """The same as `tocsin models` and /api/me/prices tell it."""
        return {
            "price_in_force": self.price.model_dump(mode="json"),
            "price_source": f"set from {self.since}" if self.since else "the models file",
            "next_price_from": str(self.next_from) if self.next_from else None,
        }


@dataclass(frozen=True, slots=True)
class PriceList:
    """All models' prices: `base` by the models file, `state` gives the control state as
    it is now.
    """

    base: Mapping[str, Price]
    state: Callable[[], ControlState]

    def at(self, model: str, moment: datetime) -> Price:
        """A model's price for a request of this moment; unknown for a model that nobody
        knows.
        """
        base = self.base.get(model, UNKNOWN)
        changed = self.state().models.get(model)
        if changed is None or changed.deleted_at is not None or not changed.prices:
            return base
        return price_of(base, changed.prices, moment)

    def standing(self, model: str, now: datetime) -> PriceStanding:
        """A model's price now, and where it comes from."""
        changed, today = self.state().models.get(model), now.astimezone(UTC).date()
        prices = () if changed is None or changed.deleted_at is not None else changed.prices
        days = [one.valid_from for one in prices]
        since = max((day for day in days if day <= today), default=None)
        return PriceStanding(
            self.at(model, now), since, min((day for day in days if day > today), default=None)
        )

    def of(self, model: str) -> PriceAt:
        """One model's prices."""
        return lambda moment: self.at(model, moment)
