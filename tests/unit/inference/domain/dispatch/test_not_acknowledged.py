"""Requests whose clients were told that the bus did not take them: cancelled, and free
whatever was done.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from schemas.inference import CancelRequested, Outcome
from services.common.requests.model_catalogue import Price
from services.inference.dispatcher.messages import refused_meanwhile
from tests.support.bus.records import record
from tests.support.inference.dispatch_world import RULES, START, World, request

_PRICE = Price(input_per_million_usd=Decimal(1), output_per_million_usd=Decimal(1))
PRICED = replace(RULES, price_at=lambda _: _PRICE)


def cancel(world: World, reason: str) -> None:
    """The gateway takes the first request back."""
    taken_back = CancelRequested(request_id="r1", model="m", tenant="acme", reason=reason)
    world.act(world.dispatch.on_cancel(taken_back, world.now()))


@pytest.mark.parametrize(("reason", "free"), [("not_acknowledged", True), ("client_left", False)])
def test_dispatch_work_that_was_begun_is_free_only_where_the_client_was_refused(
    reason: str, *, free: bool
) -> None:
    """A client that leaves pays for what was generated till then."""
    world = World(rules=PRICED)
    world.pass_time(1)
    world.add_replica()
    world.ask(request(1))
    cancel(world, reason)
    world.commit()
    (end,) = world.ends
    assert (end.outcome, end.completion_tokens) == (Outcome.CANCELLED, 2)
    assert (end.cost_usd == 0) == free


def test_dispatch_work_that_was_finished_while_its_cancel_was_under_way_is_free() -> None:
    """The replica was quicker than the withdrawal: the answer is recorded, and charged
    to nobody.
    """
    world = World(rules=PRICED)
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    world.dispatch.on_cancel(
        CancelRequested(request_id="r1", model="m", tenant="acme", reason="not_acknowledged"), world.now()
    )
    world.finish(name, ("r1", 1))
    world.commit()
    assert [(end.outcome, end.cost_usd) for end in world.ends] == [(Outcome.COMPLETED, 0)]


def test_dispatch_takeover_charges_nothing_for_what_was_refused_and_finished_before_it() -> None:
    """Whether the replica's report or the refusal was read first."""
    world = World(rules=PRICED)
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1), request(2))
    for number in (1, 2):
        world.finish(name, (f"r{number}", 1))
    taken_back = CancelRequested(request_id="r1", model="m", tenant="acme", reason="not_acknowledged")
    left = CancelRequested(request_id="r2", model="m", tenant="acme", reason="client_left")
    world.commands += [taken_back, left]
    world.take_over()
    world.commit()
    assert {end.request_id: end.cost_usd > 0 for end in world.ends} == {"r1": False, "r2": True}
    assert {end.outcome for end in world.ends} == {Outcome.COMPLETED}


def test_dispatch_refusal_that_is_read_just_after_the_end_makes_it_free_before_it_is_committed() -> None:
    """The end waits for its transaction."""
    world = World(rules=PRICED)
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    world.finish(name, ("r1", 1))
    cancel(world, "not_acknowledged")
    world.commit()
    assert [(end.outcome, end.cost_usd) for end in world.ends] == [(Outcome.COMPLETED, 0)]


def test_dispatch_cancel_that_is_read_before_its_request_lets_nothing_begin() -> None:
    """The order in which two topics are read is nobody's promise."""
    world = World(rules=PRICED)
    world.pass_time(1)
    world.add_replica()
    cancel(world, "not_acknowledged")
    world.ask(request(1))
    world.commit()
    assert [(end.outcome, end.cost_usd) for end in world.ends] == [(Outcome.CANCELLED, 0)]
    assert world.replicas == {"m#1": {}}


@pytest.mark.parametrize(
    ("accept_by", "appended_s", "timestamp_type", "refused"),
    [
        (START + timedelta(seconds=5), 5.0, 1, False),
        (START + timedelta(seconds=5), 5.001, 1, True),
        (START + timedelta(seconds=5), 900.0, 1, True),
        (START + timedelta(seconds=5), 900.0, 0, False),
        (None, 900.0, 1, False),
    ],
)
def test_request_that_the_log_took_after_its_client_was_refused_carries_its_own_cancel(
    accept_by: datetime | None, appended_s: float, timestamp_type: int, *, refused: bool
) -> None:
    """By the broker's clock alone; a time that the writer gave says nothing."""
    appended_ms = int((START.timestamp() + appended_s) * 1000)
    appended = record(b"", timestamp_ms=appended_ms, timestamp_type=timestamp_type)
    found = refused_meanwhile(request(1, accept_by=accept_by), appended)
    assert (found is not None) == refused
    assert found is None or (found.request_id, found.reason) == ("r1", "not_acknowledged")
