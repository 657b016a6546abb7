"""What was used counts, whoever ends the request."""

from dataclasses import replace
from decimal import Decimal

from schemas.base import Running
from schemas.inference import Outcome, ReplicaBeat
from services.common.requests.model_catalogue import Price
from tests.support.inference.dispatch_world import RULES, World, request

_PRICE = Price(input_per_million_usd=Decimal(1), output_per_million_usd=Decimal(100))
PRICED = replace(RULES, price_at=lambda _: _PRICE)


def tell(world: World, name: str, *, tokens: int, prompt: int, attempt: int = 1) -> None:
    """A replica's beat says how far the first request is."""
    held = (Running(request_id="r1", attempt=attempt, tokens=tokens, prompt_tokens=prompt),)
    beat = ReplicaBeat(
        replica_id=name, model="m", host="h", pid=1, inbox=0, inbox_position=0, slots=2, running=held
    )
    world.give_status(beat, live=True)


def test_request_whose_replica_dies_unanswered_costs_what_was_generated() -> None:
    """Nobody asks for the rest: the tokens that the replica last told are charged."""
    world = World(rules=PRICED, follows=False)
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    tell(world, name, tokens=7, prompt=11)
    del world.replicas[name]
    world.pass_time(30)
    world.commit()
    (end,) = world.ends
    assert (end.outcome, end.error_code) == (Outcome.FAILED, "replica_lost")
    assert (end.prompt_tokens, end.completion_tokens) == (11, 7)
    assert end.cost_usd == Decimal("0.000711")


def test_request_that_killed_two_replicas_costs_what_all_attempts_delivered() -> None:
    """The first attempt's tokens as the client has them (one), the second's as its
    replica told; those that died with the first are not charged.
    """
    world = World(rules=PRICED)
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    tell(world, name, tokens=7, prompt=11)
    del world.replicas[name]
    second = world.add_replica()
    for _ in range(20):
        world.read_lane()
        world.pass_time(0.5)
        if ("r1", 2) in world.replicas[second]:
            break
    tell(world, second, tokens=5, prompt=11, attempt=2)
    del world.replicas[second]
    world.pass_time(30)
    world.commit()
    (end,) = world.ends
    assert (end.error_code, end.prompt_tokens, end.completion_tokens) == ("replica_killed", 11, 6)


def test_request_that_expires_in_the_queue_costs_nothing() -> None:
    """No replica ever saw it."""
    world = World(rules=PRICED)
    world.ask(request(1, deadline_s=2))
    world.pass_time(10)
    world.commit()
    assert [(end.outcome, end.cost_usd) for end in world.ends] == [(Outcome.EXPIRED, 0)]
