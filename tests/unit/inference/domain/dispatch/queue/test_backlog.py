"""Long queues: every tenant's first request is at hand, in bounded memory, and ends."""

from dataclasses import replace
from decimal import Decimal

import pytest

from schemas.errors import ErrorCode
from schemas.inference import CancelRequested, InferenceRequested, Lane, LogPosition, Outcome
from services.common.requests.model_catalogue import Price
from services.common.requests.pricing import UNKNOWN
from services.inference.domain.dispatch import Dispatch, DispatchRules, Takeover
from services.inference.domain.dispatch.queue.backlog import LaneBacklog
from services.inference.domain.dispatch.rules import ReadAhead
from services.inference.domain.offsets import OffsetTracker
from tests.support.inference.dispatch_world import LANE, TIGHT, World, position, request


def running(world: World) -> set[str]:
    """The requests that replicas hold."""
    return {key[0] for held in world.replicas.values() for key in held}


@pytest.mark.parametrize("flood", [3_000, 20_000])
def test_backlog_of_one_tenant_does_not_keep_another_waiting(flood: int) -> None:
    """Whoever comes last behind a flood is served next; of the flood little is held."""
    world = World()
    world.pass_time(1)
    world.ask(*(request(number, tenant="busy") for number in range(flood)), request(99_999, tenant="quiet"))
    backlog = world.dispatch.waiting.backlogs[LANE]
    assert backlog.held <= 2 * world.rules.read_ahead.per_tenant
    assert backlog.deferred >= flood - 2 * world.rules.read_ahead.per_tenant
    world.add_replica()
    assert "r99999" in running(world)
    assert world.dispatch.waiting.queue.waiting(Lane.INTERACTIVE) == flood - 1
    assert len(world.committed[1]) <= 4096


def test_backlog_is_served_to_its_end_in_each_tenants_order() -> None:
    """What was left in the log comes back when its turn is there."""
    world = World(TIGHT)
    world.pass_time(1)
    world.ask(*(request(number, tenant=f"t{number % 3}") for number in range(60)))
    served: list[int] = []
    name = world.add_replica()
    while len(served) < 60:
        world.load()
        for key in list(world.replicas[name]):
            served.append(int(key[0][1:]))
            world.finish(name, key)
    for tenant in range(3):
        own = [number for number in served if number % 3 == tenant]
        assert own == sorted(own)
    assert max(served.index(number) for number in range(3)) < 6
    world.commit()
    assert (len(world.ends), world.committed) == (60, (60, ""))


def test_position_of_a_request_left_in_the_log_is_shown() -> None:
    """The queue is told over everything that was read, held or not."""
    world = World(TIGHT)
    world.pass_time(1)
    world.ask(*(request(number) for number in range(40)))
    positions = world.dispatch.waiting.queue.positions()
    assert [positions[f"r{number}"] for number in range(40)] == list(range(1, 41))


def test_cancelled_in_the_log_ends_cancelled_without_a_slot() -> None:
    """It is read again for its end alone."""
    world = World(TIGHT)
    world.pass_time(1)
    world.ask(*(request(number) for number in range(40)))
    cancel = CancelRequested(request_id="r30", model="m", tenant="acme", reason="test")
    world.act(world.dispatch.on_cancel(cancel, world.now()))
    world.load()
    world.commit()
    assert [(end.request_id, end.outcome) for end in world.ends] == [("r30", Outcome.CANCELLED)]


def test_deadline_passes_in_the_log_ends_expired() -> None:
    """Nobody is forgotten there."""
    world = World(TIGHT)
    world.pass_time(1)
    world.ask(*(request(number, deadline_s=3) for number in range(250)))
    world.pass_time(4)
    world.commit()
    assert [end.outcome for end in world.ends] == [Outcome.EXPIRED] * 250


@pytest.mark.parametrize("kept_from", [3, 6, 9])
def test_record_lost_to_retention_in_the_log_ends_failed_at_no_cost(kept_from: int) -> None:
    """Its sender is told, once, and it is recorded as theirs; the others are served."""
    priced = Price(input_per_million_usd=Decimal(1), output_per_million_usd=Decimal(1))
    world = World(replace(TIGHT, price_at=lambda _: priced))
    world.pass_time(1)
    world.ask(*(request(number, kind="chat", user="u", stream=True) for number in range(9)))
    world.kept_from = kept_from
    world.act(world.dispatch.on_gone(position(2), world.now()))
    assert world.dispatch.on_gone(position(2), world.now()) == []
    world.settle()
    ends = {end.request_id: end for end in world.ends}
    assert len(ends) == len(world.ends) == 9
    gone = [ends[f"r{number}"] for number in range(1, kept_from)]
    assert {(one.outcome, one.error_code, one.cost_usd) for one in gone} == {
        (Outcome.FAILED, ErrorCode.REQUEST_LOST, 0)
    }
    assert {(one.kind, one.key_id, one.user, one.stream, one.tenant) for one in gone} == {
        ("chat", "k", "u", True, "acme")
    }
    assert sorted(one.request_id for one in world.told) == sorted(one.request_id for one in gone)


def test_record_lost_while_a_replica_has_its_request_takes_the_replicas_answer() -> None:
    """After a takeover a running request may be known by its place in the log only."""
    world = adopted_and_deferred("r3")
    world.act(world.dispatch.on_gone(position(3), world.now()))
    world.finish("m#1", ("r3", 1))
    world.commit()
    (end,) = world.ends
    assert (end.request_id, end.outcome, end.completion_tokens, end.key_id) == (
        "r3",
        Outcome.COMPLETED,
        2,
        "k",
    )


def test_running_request_that_ends_when_it_is_read_again_is_withdrawn() -> None:
    """Its deadline had passed: no replica computes for nobody."""
    world = adopted_and_deferred("r3", deadline_s=3)
    world.now_s += 3
    world.act(world.dispatch.on_deferred(world.lane[3], position(3), world.now()))
    assert ("r3", 1) not in world.replicas["m#1"]
    world.commit()
    assert [(end.request_id, end.outcome) for end in world.ends] == [("r3", Outcome.EXPIRED)]


def adopted_and_deferred(request_id: str, *, deadline_s: float = 1e6) -> World:
    """A world whose new dispatcher knows of a running request by its beat, and has left
    its record in the log.
    """
    world = World(TIGHT)
    world.pass_time(1)
    world.ask(*(request(number, deadline_s=deadline_s) for number in range(4)))
    assert world.dispatch.requests[request_id].request is None
    world.replicas["m#1"] = {(request_id, 1): None}
    world.beat()
    return world


def test_what_is_known_of_the_deferred_is_bounded_in_bytes() -> None:
    """Where its share of memory is used up the lane is read no further; it is read on as
    soon as some of it is served.
    """
    tight = ReadAhead(per_tenant=1, per_lane=2, deferred_bytes=100_000)
    world = World(replace(TIGHT, read_ahead=tight))
    world.pass_time(1)
    asked = 0
    while world.dispatch.has_room(LANE) and asked < 1000:
        world.ask(request(asked, user="u" * 2000))
        asked += 1
    backlog = world.dispatch.waiting.backlogs[LANE]
    assert asked < 20
    assert backlog.deferred_bytes <= 110_000
    world.settle()
    assert (len(world.ends), backlog.deferred, backlog.deferred_bytes) == (asked, 0, 0)
    assert world.dispatch.has_room(LANE)


def test_full_batch_lane_leaves_room_in_the_interactive_one() -> None:
    """A thousand, or a hundred thousand, unread batch requests stop nobody: lanes are
    bounded each by itself.
    """
    rules = DispatchRules(model="m", price_at=lambda _: UNKNOWN)
    trackers = {"interactive": OffsetTracker(0), "batch": OffsetTracker(0)}
    dispatch, world = Dispatch(rules, trackers, Takeover({}, 0.0)), World()

    def read(topic: str, offset: int, one: InferenceRequested) -> None:
        dispatch.on_request(one, LogPosition(topic=topic, partition=0, offset=offset), world.now())

    for number in range(30_000):
        if not dispatch.has_room("batch"):
            break
        read("batch", number, request(number, lane=Lane.BATCH, tenant=f"t{number % 5000}"))
    assert dispatch.has_room("interactive")
    read("interactive", 0, request(99_999))
    assert dispatch.waiting.queue.pop() == "r99999"
    assert dispatch.waiting.backlogs["batch"].held <= rules.read_ahead.per_lane


def test_retry_goes_before_everything_and_is_never_left_in_the_log() -> None:
    """Its client has been reading already."""
    world = World(TIGHT)
    world.pass_time(1)
    world.ask(*(request(number) for number in range(30)), request(29, attempt=2))
    assert next(iter(world.dispatch.waiting.queue.positions())) == "r29"
    name = world.add_replica()
    assert ("r29", 2) in world.replicas[name]


def test_read_ahead_is_bounded_in_bytes() -> None:
    """Large records fill a lane's share sooner; one is always held."""
    backlog = LaneBacklog(ReadAhead(per_tenant=100, per_lane=100, lane_bytes=1000))
    assert backlog.admits("a", 5000)
    backlog.hold("a", 600)
    assert backlog.admits("b", 400)
    assert not backlog.admits("b", 401)
    backlog.defer("b", 7, 401)
    assert not backlog.admits("b", 1)
    assert backlog.wanted() == []
    backlog.release("a", 600)
    assert backlog.wanted() == [7]


def test_wanted_gives_the_tenant_with_the_least_its_turn_first() -> None:
    """A newcomer's first record comes before the others' next."""
    backlog = LaneBacklog(ReadAhead(per_tenant=10, per_lane=12, lane_bytes=10**6))
    for _ in range(4):
        backlog.hold("old", 1)
    for offset in range(100):
        backlog.defer("old", offset, 1)
    backlog.defer("new", 500, 1)
    assert 500 in backlog.wanted()
    assert len(backlog.wanted()) == 7
    backlog.demand(90)
    assert 90 in backlog.wanted()
