"""What models cost now, by the models file and by what was changed."""

from typing import Any

from schemas.control import ModelChanged
from services.common.clock import utc_now
from services.common.control.changes import public_fields
from services.common.control.state import ControlState
from services.common.process.settings import CommonSettings
from services.common.requests.model_catalogue import load_models
from services.common.requests.pricing import PriceList


def of_the_file(model: str) -> dict[str, Any] | None:
    """A model that nobody changed; None where the models file lacks it."""
    names = {one.name for one in load_models(CommonSettings.load().models_file)}
    return public_fields(ModelChanged(model=model)) if model in names else None


def with_prices(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Models with `price_in_force`, `price_source` (the models file, or since when it
    holds) and `next_price_from`, null where none comes.
    """
    base = {one.name: one.price for one in load_models(CommonSettings.load().models_file)}
    entries = {one["model"]: ModelChanged.model_validate(one) for one in models}
    prices, now = PriceList(base, lambda: ControlState(models=entries)), utc_now()
    return [one | prices.standing(one["model"], now).told() for one in models]
