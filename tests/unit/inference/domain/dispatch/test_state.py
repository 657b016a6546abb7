"""Dispatching as a game: requests come, replicas and dispatchers die at any moment, and
every request must end exactly once.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.inference import (
    CancelRequested,
    Delivered,
    End,
    LogPosition,
    Outcome,
    ReplyEnded,
    RetryNeeded,
    Usage,
)
from services.inference.domain.dispatch import (
    DispatchRules,
)
from tests.support.inference.dispatch_world import LANE, RULES, TIGHT, World, request

STEPS = (
    ["ask"] * 6
    + ["finish"] * 4
    + ["time"] * 3
    + ["replica"] * 3
    + ["commit"] * 2
    + ["load"] * 2
    + ["garbled", "kill replica", "kill dispatcher", "kill dispatcher", "cancel", "silence", "silence"]
)


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    length=st.integers(5, 80),
    rules=st.sampled_from([RULES, TIGHT]),
    tokens=st.integers(0, 1),
)
def test_dispatch_any_order_of_deaths_every_request_ends_exactly_once(
    seed: int, length: int, rules: DispatchRules, tokens: int
) -> None:
    """Whatever dies when: each request that was asked has one committed end, and none
    has two.
    """
    world, chance = World(rules, tokens=tokens), random.Random(seed)
    for _ in range(length):
        play(world, chance.choice(STEPS), chance.randrange(8))
    world.pass_time(5)
    assert world.running_for_nobody() == []
    world.settle()
    asked = {one.request_id for one in world.lane}
    assert sorted(end.request_id for end in world.ends) == sorted(asked)


def play(world: World, step: str, number: int) -> None:
    """One step of the game."""
    names = list(world.replicas)
    if step == "ask":
        world.ask(request(len(world.lane) + 1000 * number, tenant=f"t{number % 3}"))
    elif step == "replica" and len(names) < 4:
        world.add_replica()
    elif step == "kill replica" and names:
        del world.replicas[names[number % len(names)]]
    elif step == "kill dispatcher":
        world.take_over()
    elif step == "finish":
        held = [(name, key) for name, running in world.replicas.items() for key in running]
        if held:
            world.finish(*held[number % len(held)])
    elif step == "commit":
        world.commit()
    elif step == "load":
        world.load()
    elif step == "time":
        world.pass_time(number / 2)
    elif step == "cancel" and world.lane:
        cancel = CancelRequested(
            request_id=world.lane[number % len(world.lane)].request_id,
            model="m",
            tenant="acme",
            reason="test",
        )
        world.commands.append(cancel)
        world.act(world.dispatch.on_cancel(cancel, world.now()))
    elif step in {"silence", "garbled"} and world.lane:
        give_up(world, number, garbled=step == "garbled")


def give_up(world: World, number: int, *, garbled: bool) -> None:
    """A gateway gives an attempt up that is in fact alive, or over: the next one's record
    may be unreadable.
    """
    last = [one for one in world.lane if one.request_id == world.lane[number % len(world.lane)].request_id][
        -1
    ]
    offset = max(index for index, one in enumerate(world.lane) if one.request_id == last.request_id)
    if garbled:
        world.garbled.add(len(world.lane))
    if last.attempt < 4 or garbled:
        origin = LogPosition(topic=LANE, partition=0, offset=offset)
        world.ask(last.model_copy(update={"attempt": last.attempt + 1, "previous": origin}))


def test_dispatch_replica_silent_for_a_second_asks_for_a_retry() -> None:
    """The reply stream of the stream is asked, since it alone knows what was delivered."""
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    del world.replicas[name]
    world.follows = False
    world.pass_time(1.5)
    assert [type(one) for one in world.told] == [RetryNeeded]


def test_dispatch_retry_unanswered_ends_failed() -> None:
    """With its replica dead and nobody following, a request ends as failed after ten
    seconds.
    """
    world = World(follows=False)
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    del world.replicas[name]
    world.pass_time(13)
    world.commit()
    assert [(end.outcome, end.error_code) for end in world.ends] == [(Outcome.FAILED, "replica_lost")]


def test_dispatch_attempt_after_the_end_is_told_the_whole_answer() -> None:
    """A reply stream that gave up too early gets the text that the recorded end has."""
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    world.finish(name, ("r1", 1))
    world.commit()
    world.ask(request(1, attempt=2, previous=LogPosition(topic=LANE, partition=0, offset=0)))
    (told,) = world.told
    assert isinstance(told, ReplyEnded)
    assert told.choices[0].text == "answer"
    world.commit()
    assert (len(world.ends), world.committed) == (1, (2, ""))


def test_dispatch_client_saw_the_end_that_was_lost_records_it_without_generating() -> None:
    """A replica that died between its last chunk and its report costs nothing: the
    reply stream brings the end.
    """
    world = World()
    world.pass_time(1)
    end = End(outcome=Outcome.COMPLETED, usage=Usage(prompt_tokens=3, completion_tokens=4))
    world.ask(request(1))
    world.ask(
        request(1, attempt=2, ended=end, delivered=(Delivered(text="whole", tokens=4, finish_reason="stop"),))
    )
    world.commit()
    assert [(one.outcome, one.completion_tokens) for one in world.ends] == [(Outcome.COMPLETED, 4)]


def test_dispatch_two_tenants_are_served_in_turn() -> None:
    """A tenant that sends many waits behind its own."""
    world = World()
    world.pass_time(1)
    world.ask(*(request(number, tenant="busy") for number in range(6)), request(100, tenant="quiet"))
    name = world.add_replica()
    assert ("r100", 1) in world.replicas[name]


def test_dispatch_deadline_passes_in_the_queue_ends_expired() -> None:
    """Nobody waits beyond the deadline."""
    world = World()
    world.ask(request(1, deadline_s=3))
    world.pass_time(4)
    world.commit()
    assert [end.outcome for end in world.ends] == [Outcome.EXPIRED]


def test_dispatch_attempt_of_a_request_that_an_earlier_dispatcher_ended_is_withdrawn() -> None:
    """It died before it had withdrawn it, and the log says nothing of the request: what is
    unknown for two seconds after all pending records were read is over.
    """
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.replicas[name]["r7", 1] = None
    world.pass_time(1)
    assert ("r7", 1) in world.replicas[name]
    world.pass_time(2)
    assert world.replicas[name] == {}


def test_dispatch_unknown_attempt_is_left_alone_while_pending_records_are_unread() -> None:
    """Its record may be among them."""
    world = World()
    world.dispatch.takeover.note_lanes(read=False)
    world.pass_time(1)
    name = world.add_replica()
    world.replicas[name]["r7", 1] = None
    world.pass_time(5)
    assert ("r7", 1) in world.replicas[name]


def test_dispatch_running_request_long_overdue_is_withdrawn_from_its_replica() -> None:
    """A replica that did not notice the deadline stops when the request has ended."""
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1, deadline_s=3))
    assert ("r1", 1) in world.replicas[name]
    world.pass_time(8)
    assert world.running_for_nobody() == []
    world.commit()
    assert [end.outcome for end in world.ends] == [Outcome.EXPIRED]


def test_dispatch_one_attempt_on_two_replicas_the_second_is_withdrawn_at_the_firsts_end() -> None:
    """A replica that was silent through a takeover comes back with what another has."""
    world = World()
    world.pass_time(1)
    first, second = world.add_replica(), world.add_replica()
    world.ask(request(1))
    (held,) = [name for name in (first, second) if world.replicas[name]]
    other = second if held == first else first
    world.replicas[other]["r1", 1] = None
    world.finish(other, ("r1", 1))
    assert world.replicas[held] == {}
    world.commit()
    assert [end.replica_id for end in world.ends] == [other]


@pytest.mark.parametrize("previous", [None, -1, 0])
def test_dispatch_further_attempt_after_a_takeover_does_not_end_a_request_again(
    previous: int | None,
) -> None:
    """Its end is committed and remembered by nobody: whether or not the sender knows where
    the earlier attempt lies, it is told that the request has ended.
    """
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    world.finish(name, ("r1", 1))
    world.commit()
    world.take_over()
    at = None if previous is None else LogPosition(topic=LANE, partition=0, offset=previous)
    world.ask(request(1, attempt=2, previous=at))
    world.settle()
    assert len(world.ends) == 1
    assert [type(one) for one in world.told] == [ReplyEnded]


def test_dispatch_own_stall_buries_nobody() -> None:
    """A dispatcher that stood still for seconds does not take its replicas for dead."""
    world = World()
    world.pass_time(1)
    world.add_replica()
    world.ask(request(1))
    world.now_s += 30
    world.act(world.dispatch.on_tick(world.now()))
    assert world.told == []
