"""Records that cannot be read, or do not fit, end their own request."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ErrorCode
from schemas.inference import InferenceRequested, Lane, Outcome, ReplyEnded
from services.inference.dispatcher.messages import read_request, shortened, stand_in_of
from services.inference.domain.dispatch import Reply
from services.inference.domain.unreadable import ANY_ATTEMPT, unreadable_attempt, unreadable_report
from tests.support.bus.records import record
from tests.support.inference.dispatch_world import LANE, TIGHT, World, position, request

BROKEN = [
    b"",
    b"\xff\xfe",
    b"[1]",
    b'{"kind":"chat"}',
    json.dumps({"reply_to": {"partition": 3, "gateway_id": "g"}, "attempt": 1, "tenant": "acme"}).encode(),
    b'{"attempt":"x","reply_to":7,"tenant":{}}',
    b"[" * 400 + b"]" * 400,
    None,
]


@pytest.mark.parametrize("value", BROKEN)
def test_unreadable_request_ends_failed_by_its_key(value: bytes | None) -> None:
    """It is recorded, its client is told, its offset is done."""
    bad = record(value, key=b"chatcmpl-1", timestamp_ms=1_700_000_000_000)
    assert read_request(bad) is None
    stand_in = stand_in_of(bad, "m", Lane.BATCH)
    assert stand_in is not None
    world = World()
    world.pass_time(1)
    (told,) = world.dispatch.on_unreadable(stand_in, position(0), world.now())
    assert isinstance(told, Reply)
    assert isinstance(told.message, ReplyEnded)
    assert (told.message.request_id, told.to is None) == ("chatcmpl-1", stand_in.reply_to.partition < 0)
    world.commit()
    (end,) = world.ends
    assert (end.outcome, end.error_code, end.kind) == (
        Outcome.FAILED,
        ErrorCode.REQUEST_UNREADABLE,
        "chat",
    )
    assert world.committed == (1, "")


def test_unreadable_request_without_a_key_is_passed_over() -> None:
    """Nobody can be told."""
    assert stand_in_of(record(b"x", key=b""), "m", Lane.BATCH) is None
    assert stand_in_of(record(b"x", key=b"\xff"), "m", Lane.BATCH) is None
    world = World()
    world.dispatch.skip(position(0))
    world.commit()
    assert (world.ends, world.committed) == ([], (1, ""))


def test_unreadable_further_attempt_ends_the_request_that_is_known() -> None:
    """Whoever follows hears of it: the end is told for the attempt that they are at."""
    world = World()
    world.pass_time(1)
    world.add_replica()
    world.ask(request(1))
    bad = record(b"x", key=b"r1", timestamp_ms=1_700_000_000_000)
    stand_in = stand_in_of(bad, "m", Lane.INTERACTIVE)
    assert stand_in is not None
    world.lane.append(request(1))
    world.read = 2
    world.act(world.dispatch.on_unreadable(stand_in, position(1), world.now()))
    told = world.told[-1]
    assert told.attempt == ANY_ATTEMPT
    world.commit()
    assert [end.request_id for end in world.ends] == ["r1"]
    assert (world.ends[0].tenant, world.committed) == ("acme", (2, ""))


@pytest.mark.parametrize(("said", "recorded"), [(b"x", 1), (b'{"attempt":2}', 2), (b'{"attempt":70000}', 1)])
def test_unreadable_attempt_is_recorded_with_an_attempt_that_there_was(said: bytes, recorded: int) -> None:
    """What is told is for any attempt where it is not known; what is recorded never is."""
    world = World()
    world.pass_time(1)
    world.add_replica()
    world.ask(request(1))
    give_unreadable(world, said)
    world.commit()
    assert [(end.attempts, end.error_code) for end in world.ends] == [
        (recorded, ErrorCode.REQUEST_UNREADABLE)
    ]
    assert world.told[-1].attempt == (2 if recorded == 2 else ANY_ATTEMPT)
    assert world.running_for_nobody() == []


@pytest.mark.parametrize(
    "said",
    [
        {"attempt": 2},
        {"attempt": 3, "previous": {"topic": LANE, "partition": 0, "offset": 0}},
        {"attempt": 2, "previous": "?"},
        {"attempt": 2, "previous": {"topic": LANE, "partition": 0, "offset": -1}},
    ],
)
def test_unreadable_further_attempt_after_a_takeover_does_not_end_its_request_again(
    said: dict[str, object],
) -> None:
    """Nothing is remembered then but the log: nothing of the request is pending there."""
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1))
    world.finish(name, ("r1", 1))
    world.commit()
    world.take_over()
    give_unreadable(world, json.dumps(said).encode())
    world.commit()
    assert len(world.ends) == 1
    assert world.committed == (2, "")
    assert isinstance(world.told[-1], ReplyEnded)


def test_unreadable_record_of_a_past_attempt_changes_nothing() -> None:
    """The present attempt goes on."""
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.ask(request(1), request(1, attempt=2))
    give_unreadable(world, b'{"attempt":2}')
    assert list(world.replicas[name]) == [("r1", 2)]
    world.settle()
    assert [(end.attempts, end.outcome) for end in world.ends] == [(2, Outcome.COMPLETED)]


def test_unreadable_further_attempt_of_a_request_left_in_the_log_ends_it_as_its_senders() -> None:
    """The first attempt's record is read again for that."""
    world = World(TIGHT)
    world.pass_time(1)
    world.ask(*(request(number) for number in range(5)))
    give_unreadable(world, b"?", request_id="r4")
    assert world.dispatch.requests["r4"].request is None
    world.load()
    world.commit()
    assert [(end.request_id, end.key_id, end.attempts) for end in world.ends] == [("r4", "k", 1)]
    assert world.told[-1].attempt == ANY_ATTEMPT


def give_unreadable(world: World, value: bytes, request_id: str = "r1") -> None:
    """The next record of the lane cannot be read."""
    stand_in = stand_in_of(
        record(value, key=request_id.encode(), timestamp_ms=1_700_000_000_000), "m", Lane.INTERACTIVE
    )
    assert stand_in is not None
    world.garbled.add(len(world.lane))
    world.ask(stand_in)


def test_assignment_too_large_for_the_bus_fails_its_own_request_only() -> None:
    """The slot is free again, the next one is served."""
    world = World()
    world.pass_time(1)
    name = world.add_replica()
    world.ask(*(request(number) for number in range(3)))
    del world.replicas[name]["r0", 1]
    world.act(world.dispatch.on_refused("r0", 1, world.now()))
    world.commit()
    assert [(end.request_id, end.error_code) for end in world.ends] == [("r0", ErrorCode.BODY_TOO_LARGE)]
    assert ("r2", 1) in world.replicas[name]


@given(st.binary(max_size=200) | st.from_regex(rb'\{"kind":"finished".{0,80}', fullmatch=True))
def test_unreadable_status_or_work_never_raises(value: bytes) -> None:
    """Whatever the bytes are."""
    unreadable_report(value, "m")
    unreadable_attempt(value, "m#1", "m")


def test_unreadable_report_ends_the_attempt_that_it_names() -> None:
    """A report with a field that this version does not know how to read."""
    said = {
        "kind": "finished",
        "replica_id": "m#1",
        "request_id": "r1",
        "attempt": 1,
        "end": {"outcome": "?"},
    }
    finished = unreadable_report(json.dumps(said).encode(), "m")
    assert finished is not None
    assert (finished.request_id, finished.end.outcome) == ("r1", Outcome.FAILED)
    assert unreadable_report(json.dumps(said | {"kind": "beat"}).encode(), "m") is None


def test_reply_too_large_is_told_without_its_text() -> None:
    """The end arrives in any case."""
    asked = InferenceRequested.model_validate(request(1))
    world = World()
    world.pass_time(1)
    world.ask(asked)
    world.add_replica()
    world.finish("m#1", ("r1", 1))
    world.ask(request(1, attempt=2))
    told = world.told[-1]
    assert isinstance(told, ReplyEnded)
    assert told.choices
    cut = shortened(Reply(asked.reply_to, told)).message
    assert isinstance(cut, ReplyEnded)
    assert (cut.choices, cut.end) == ((), told.end)
