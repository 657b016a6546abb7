"""Requests whose client leaves just before their replica is lost."""

import pytest

from schemas.inference import CancelRequested, Outcome
from tests.support.inference.dispatch_world import World, request


@pytest.mark.parametrize("successors", [0, 1])
def test_cancelled_request_whose_replica_dies_ends_as_cancelled(successors: int) -> None:
    """Not as failed, and no other replica begins it; its neighbour goes on."""
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1), request(2))
    left = CancelRequested(request_id="r1", model="m", tenant="acme", reason="client_left")
    world.dispatch.on_cancel(left, world.now())  # the withdrawal never reaches the replica
    del world.replicas[name]
    for _ in range(successors):
        world.add_replica()
    for _ in range(20):
        world.read_lane()
        world.pass_time(0.5)
        assert not any(key[0] == "r1" for held in world.replicas.values() for key in held)
    world.settle()
    assert sorted((end.request_id, end.outcome) for end in world.ends) == [
        ("r1", Outcome.CANCELLED),
        ("r2", Outcome.COMPLETED),
    ]
