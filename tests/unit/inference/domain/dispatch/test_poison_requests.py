"""Requests that kill their replicas, and those that only run beside them."""

import pytest

from schemas.errors import ErrorCode
from schemas.inference import Outcome
from tests.support.inference.dispatch_world import World, request


class Killing(World):
    """A world in which request 0 kills every replica that takes it, at its next beat."""

    def kill(self) -> None:
        """The replica that has it dies; a new one takes its place."""
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
        if all(one.request_id != "r0" for one in world.dispatch.requests.values()):
            break
    world.tokens = tokens
    world.settle()
    ends = {end.request_id: end for end in world.ends}
    assert (ends["r0"].outcome, ends["r0"].error_code) == (Outcome.FAILED, ErrorCode.REPLICA_KILLED)
    assert ends["r0"].attempts == 2
    assert {ends[f"r{number}"].outcome for number in range(1, 2 * replicas)} <= {Outcome.COMPLETED}


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("beats", [1, 2])
def test_request_that_kills_after_its_first_tokens_gets_two_attempts(replicas: int, beats: int) -> None:
    """Though it had been seen generating; its neighbours, which had been, too, complete."""
    world = World(tokens=3)
    world.pass_time(1)
    for _ in range(replicas):
        world.add_replica()
    world.ask(*(request(number) for number in range(2 * replicas)))
    for _ in range(200):
        victim = next(
            (name for name, held in world.replicas.items() if any(k[0] == "r0" for k in held)), None
        )
        world.pass_time(0.25 * beats if victim else 0.25)
        if victim:
            del world.replicas[victim]
            world.add_replica()
        world.read_lane()
    world.settle()
    ends = {end.request_id: end for end in world.ends}
    assert (ends["r0"].error_code, ends["r0"].attempts) == (ErrorCode.REPLICA_KILLED, 2)
    others = [ends[f"r{number}"] for number in range(1, 2 * replicas)]
    assert {one.outcome for one in others} <= {Outcome.COMPLETED}


def test_suspect_where_other_replicas_die_too_is_given_one_more_attempt() -> None:
    """It may not be what kills them."""
    world = World()
    world.pass_time(1)
    world.add_replica()
    world.add_replica()
    world.ask(request(1))
    world.replicas.clear()
    world.pass_time(2)
    for attempt in (2, 3):
        world.read_lane()
        assert world.dispatch.requests["r1"].attempt == attempt
        world.add_replica()
        kill_with(world, "r1")
        world.pass_time(2)
    world.commit()
    assert [(end.error_code, end.attempts) for end in world.ends] == [(ErrorCode.REPLICA_KILLED, 3)]


def test_suspect_after_a_takeover_is_given_two_more_attempts() -> None:
    """What died before it is not known."""
    world = World()
    world.pass_time(1)
    world.add_replica()
    world.take_over()
    world.pass_time(1)
    world.ask(request(1))
    for _ in range(4):
        kill_with(world, "r1")
        world.pass_time(2)
        world.read_lane()
        world.add_replica()
    world.commit()
    assert [(end.error_code, end.attempts) for end in world.ends] == [(ErrorCode.REPLICA_KILLED, 4)]


def kill_with(world: World, request_id: str) -> None:
    """The replica that has it dies as soon as it has it."""
    for _ in range(40):
        holders = [name for name, held in world.replicas.items() if any(key[0] == request_id for key in held)]
        if holders:
            del world.replicas[holders[0]]
            return
        world.pass_time(0.25)
        world.read_lane()
    raise AssertionError(f"nobody was given {request_id}")


def test_replica_that_was_taken_for_dead_and_beats_again_clears_its_suspects() -> None:
    """It did not die, of nothing."""
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    silent = world.replicas.pop(name)
    world.pass_time(2)
    assert world.dispatch.requests["r1"].kills == 1
    world.replicas[name] = silent
    world.pass_time(0.25)
    assert world.dispatch.requests["r1"].kills == 0


def test_replica_that_no_dispatcher_heard_after_a_takeover_is_counted_against_no_request() -> None:
    """What killed the dispatcher may have killed the replica, too."""
    world = World()
    world.pass_time(1)
    world.add_replica()
    world.ask(request(1))
    world.beat()
    world.replicas.clear()
    world.take_over()
    world.pass_time(5)
    assert [type(one).__name__ for one in world.told] == ["RetryNeeded"]
    assert world.dispatch.requests["r1"].kills == 0


def test_request_beside_many_poison_requests_is_not_taken_for_one() -> None:
    """Ten killers in a row beside one that generates: it outlives them all."""
    world = World(tokens=5)
    world.pass_time(1)
    world.add_replica()
    world.ask(request(1))
    for number in range(10):
        world.pass_time(1)
        world.ask(request(100 + number))
        world.pass_time(0.25)
        world.replicas.clear()
        world.add_replica()
        world.pass_time(2)
        world.read_lane()
    world.settle()
    ends = {end.request_id: end.outcome for end in world.ends}
    assert ends["r1"] is Outcome.COMPLETED


def test_attempt_given_to_a_replica_that_was_dead_already_is_no_suspect() -> None:
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
    assert world.dispatch.requests["r1"].kills == 0


def test_suspect_that_generates_is_cleared() -> None:
    """A stream whose replica was killed twice by something else goes on."""
    world = World()
    world.pass_time(1)
    for _ in range(6):
        world.add_replica()
        if "r1" not in world.dispatch.requests:
            world.ask(request(1))
        world.pass_time(0.25)
        world.tokens = 4
        world.pass_time(1)
        world.tokens = 0
        world.replicas.clear()
        world.pass_time(2)
        world.read_lane()
    world.settle()
    assert [end.outcome for end in world.ends] == [Outcome.COMPLETED]
