"""Requests that kill their replicas, and those that only run beside them."""

import pytest

from schemas.errors import ErrorCode
from schemas.inference import Outcome
from tests.support.inference.dispatch_world import World, request


class Killing(World):
    """A world in which request 0 kills every replica that takes it, at its next beat."""

    def kill(self) -> None:
        """Whoever has it dies; a new replica takes its place."""
        for name, held in list(self.replicas.items()):
            if any(key[0] == "r0" for key in held):
                del self.replicas[name]
                self.add_replica()


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("tokens", [0, 3])
def test_request_that_kills_its_replica_gets_two_attempts_and_its_neighbours_go_on(
    replicas: int, tokens: int
) -> None:
    """The killer fails after its second replica; every other request completes, though
    its replica died, too.
    """
    world = Killing()
    world.pass_time(1)
    for _ in range(replicas):
        world.add_replica()
    world.ask(*(request(number) for number in range(2 * replicas)))
    for _ in range(60):
        world.kill()
        world.read_lane()
        world.pass_time(0.5)
        if all(one.request_id != "r0" for one in world.dispatch.waiting.tracked.values()):
            break
    world.tokens = tokens
    world.settle()
    ends = {end.request_id: end for end in world.ends}
    assert (ends["r0"].outcome, ends["r0"].error_code) == (Outcome.FAILED, ErrorCode.REPLICA_KILLED)
    assert ends["r0"].attempts == 2
    assert {ends[f"r{number}"].outcome for number in range(1, 2 * replicas)} <= {Outcome.COMPLETED}


def test_request_beside_many_killers_is_never_blamed() -> None:
    """Ten killers in a row beside one that generates: it outlives them all."""
    world = World(tokens=5)
    world.pass_time(1)
    world.add_replica()
    world.ask(request(1))
    for number in range(10):
        world.ask(request(100 + number))
        world.pass_time(0.5)
        world.replicas.clear()
        world.add_replica()
        world.pass_time(2)
        world.read_lane()
    world.settle()
    ends = {end.request_id: end.outcome for end in world.ends}
    assert ends["r1"] is Outcome.COMPLETED


def test_attempt_given_to_a_replica_that_was_dead_already_is_innocent() -> None:
    """A death is noticed a second late; what was assigned meanwhile has no part in it."""
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    del world.replicas[name]
    for _ in range(3):
        world.now_s += 0.25
        world.act(world.dispatch.on_tick(world.now()))
    world.ask(request(1))
    world.pass_time(2)
    assert world.dispatch.waiting.tracked["r1"].kills == 0


def test_suspect_that_generates_is_cleared() -> None:
    """A stream whose replica was killed twice by something else goes on."""
    world = World()
    world.pass_time(1)
    for _ in range(6):
        world.add_replica()
        if "r1" not in world.dispatch.waiting.tracked:
            world.ask(request(1))
        world.pass_time(0.25)
        world.tokens = 4
        world.pass_time(0.5)
        world.tokens = 0
        world.replicas.clear()
        world.pass_time(2)
        world.read_lane()
    world.settle()
    assert [end.outcome for end in world.ends] == [Outcome.COMPLETED]
