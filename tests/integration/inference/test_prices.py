"""A request pays the price of the moment it was asked at, as control state has it."""

import asyncio
from datetime import timedelta
from decimal import Decimal

from schemas.control import ModelChanged, ModelPrice
from services.common.clock import utc_now
from services.common.control import changes
from services.inference.dispatcher.dispatchers import Dispatchers
from tests.support.control import control_writer
from tests.support.inference.in_process import Client, completed_events, scripted_model, stage
from tests.support.kafka import Broker


def price(day: int, dollars: str) -> ModelPrice:
    """A price of output only, from so many days from now on."""
    return ModelPrice(
        valid_from=(utc_now() + timedelta(days=day)).date(),
        input_per_million_usd=Decimal(0),
        output_per_million_usd=Decimal(dollars),
    )


async def test_changed_price_holds_for_the_next_end_and_never_for_those_before(kafka: Broker) -> None:
    """Of today with a later one that has not begun, unknown, then free; the price
    that was there when the dispatchers began holds from the first end on.
    """
    model, writer = scripted_model(), control_writer(kafka.bootstrap)
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        await writer.apply(changes.put(ModelChanged(model=model.name, prices=(price(-1, "3"),))))
        dispatchers = Dispatchers(kafka.bootstrap, "prices", (model,))
        working = asyncio.create_task(dispatchers.run())
        await running.add_replica()
        try:
            await _ask(client, 5)
            history = (price(-1, "3"), price(0, "7"), price(2, "1000"))
            for prices in (history, (), (price(-1, "0"),)):
                await writer.apply(changes.put(ModelChanged(model=model.name, prices=prices)))
                await asyncio.wait_for(_known(dispatchers, model.name, prices), 1)
                await _ask(client, 5)
            events = await completed_events(kafka.bootstrap, model.name, 4)
        finally:
            await dispatchers.close()
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
    by_time = sorted(events, key=lambda event: event.requested_at)
    costs = [event.cost_usd for event in by_time]
    assert costs == [Decimal("0.000015"), Decimal("0.000035"), None, Decimal(0)]
    assert [event.completion_tokens for event in by_time] == [5] * 4


async def _ask(client: Client, tokens: int) -> None:
    followed = await client.ask("hello", max_tokens=tokens)
    await asyncio.wait_for(followed.done.wait(), 20)


async def _known(dispatchers: Dispatchers, model: str, prices: tuple[ModelPrice, ...]) -> None:
    """The change is there: within the second that a change may take."""
    while dispatchers._control.state.models[model].prices != prices:  # noqa: ASYNC110  a reader tells nobody
        await asyncio.sleep(0.01)
