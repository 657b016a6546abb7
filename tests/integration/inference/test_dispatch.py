"""Dispatchers and replicas on a real broker: every request is answered whole and ends
once, whoever dies.
"""

import asyncio
from decimal import Decimal

import pytest

from schemas.errors import ErrorCode
from schemas.inference import Lane, Outcome, ReplicaBeat
from schemas.limits import MAX_RECORD_BYTES
from schemas.topics import STATUS_TOPIC, WORK_TOPIC
from services.inference.domain.dispatch import DispatchRules
from services.inference.domain.dispatch.rules import ReadAhead
from services.inference.engines.scripted import scripted_text
from services.inference.replica.replica import Replica
from tests.support.inference.in_process import Client, completed_events, scripted_model, stage
from tests.support.kafka import Broker


async def test_request_ordinary_is_answered_and_ends_once(kafka: Broker) -> None:
    """A request goes over the bus to the engine and back; its end is one event with the
    tokens counted.
    """
    model = scripted_model(price={"input_per_million_usd": 1, "output_per_million_usd": 2})
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        await running.add_dispatcher()
        await running.add_replica()
        prompt = "hello jean.dupont@example.fr"
        followed = await client.ask(prompt, max_tokens=12)
        await asyncio.wait_for(followed.done.wait(), 20)
        assert followed.text == scripted_text(prompt, 12, seed=1)
        (event,) = await completed_events(kafka.bootstrap, model.name, 1)
    assert (event.outcome, event.completion_tokens, event.attempts) == (Outcome.COMPLETED, 12, 1)
    assert event.cost_usd > 0
    assert (event.prompt_text, event.response_text) == ("hello [EMAIL_1]", followed.text)
    assert [(one.role, one.chars) for one in event.prompt_parts] == [("user", len("hello [EMAIL_1]"))]


async def test_stream_replica_dies_goes_on_elsewhere_without_gap_or_repeat(kafka: Broker) -> None:
    """The text over two replicas is the very text of an undisturbed run."""
    model = scripted_model(tokens_per_s=40)
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        await running.add_dispatcher()
        first = await running.add_replica()
        followed = await client.ask("story", max_tokens=60)
        await asyncio.wait_for(followed.grew.wait(), 20)
        await running.add_replica()
        await first.die()
        await asyncio.wait_for(followed.done.wait(), 20)
        assert followed.text == scripted_text("story", 60, seed=1)
        (event,) = await completed_events(kafka.bootstrap, model.name, 1)
    assert (event.attempts, event.completion_tokens, event.outcome) == (2, 60, Outcome.COMPLETED)


async def test_stream_dispatcher_dies_standby_ends_it_once(kafka: Broker) -> None:
    """A running stream is not touched by its dispatcher's death; the standby learns of
    its end.
    """
    model = scripted_model(tokens_per_s=40)
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        active = await running.add_dispatcher()
        await running.add_replica()
        followed = [await client.ask(f"story {number}", max_tokens=80) for number in range(3)]
        for one in followed:
            await asyncio.wait_for(one.grew.wait(), 20)
        await running.add_dispatcher()
        await active.die()
        later = await client.ask("after", max_tokens=5)
        for one in [*followed, later]:
            await asyncio.wait_for(one.done.wait(), 30)
        assert [one.text for one in followed] == [
            scripted_text(f"story {number}", 80, seed=1) for number in range(3)
        ]
        events = await completed_events(kafka.bootstrap, model.name, 4)
    assert len({event.request_id for event in events}) == len(events) == 4
    assert {event.attempts for event in events} == {1}


async def test_request_cut_off_while_running_stops_ends_once_and_pays_for_what_it_got(kafka: Broker) -> None:
    """A cancellation reaches the replica, which stops generating, and so does the
    deadline; each pays for its prompt and for the tokens that its client has.
    """
    model = scripted_model(tokens_per_s=20, price={"input_per_million_usd": 1, "output_per_million_usd": 100})
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        await running.add_dispatcher()
        await running.add_replica()
        late = await client.ask("long and late", max_tokens=4000, deadline_s=2)
        followed = await client.ask("long", max_tokens=4000)
        await asyncio.wait_for(followed.grew.wait(), 20)
        await client.cancel(followed)
        await asyncio.wait_for(followed.done.wait(), 20)
        await asyncio.wait_for(late.done.wait(), 20)
        events = await completed_events(kafka.bootstrap, model.name, 2)
    by_id = {event.request_id: event for event in events}
    for one, outcome, words in ((followed, Outcome.CANCELLED, 1), (late, Outcome.EXPIRED, 3)):
        event = by_id[one.request.request_id]
        assert (event.outcome, one.outcome) == (outcome, outcome)
        assert 0 < event.completion_tokens == one.tokens == one.usage.completion_tokens < 4000
        assert event.prompt_tokens == one.usage.prompt_tokens == words
        assert event.cost_usd == Decimal(words + 100 * one.tokens).scaleb(-6)


async def test_request_beyond_deadline_in_queue_ends_expired(kafka: Broker) -> None:
    """What waits too long is told so, and recorded."""
    model = scripted_model()
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        await running.add_dispatcher()
        followed = await client.ask("nobody is there", deadline_s=0.5)
        await asyncio.wait_for(followed.done.wait(), 20)
        (event,) = await completed_events(kafka.bootstrap, model.name, 1)
    assert (event.outcome, event.error_code) == (Outcome.EXPIRED, "deadline_exceeded")


async def test_many_requests_dispatchers_die_in_turn_each_ends_once(kafka: Broker) -> None:
    """However often the dispatcher dies, every request has one end."""
    model = scripted_model(tokens_per_s=100, slots=8)
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        active = await running.add_dispatcher()
        await running.add_replica()
        followed = []
        for generation in range(2):
            followed += [await client.ask(f"{generation}-{number}", max_tokens=30) for number in range(25)]
            standby = await running.add_dispatcher()
            await active.die()
            active = standby
        for one in followed:
            await asyncio.wait_for(one.done.wait(), 60)
        events = await completed_events(kafka.bootstrap, model.name, 50)
    assert sorted(event.request_id for event in events) == sorted(one.request.request_id for one in followed)
    assert all(one.text == scripted_text(one.request.prompt, 30, seed=1) for one in followed)


async def test_interactive_request_behind_a_thousand_batch_requests_is_served_next(kafka: Broker) -> None:
    """An unread batch lane stops nobody, also where a standby takes over."""
    model = scripted_model(slots=1, lanes=["interactive", "batch"])
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        flood = [await client.ask(f"b{number}", max_tokens=1, lane=Lane.BATCH) for number in range(1200)]
        active = await running.add_dispatcher()
        await running.add_dispatcher()
        await active.die()
        urgent = await client.ask("now", max_tokens=3)
        await running.add_replica()
        await asyncio.wait_for(urgent.done.wait(), 60)
        assert sum(one.done.is_set() for one in flood) < 100
        for one in flood:
            await asyncio.wait_for(one.done.wait(), 60)
        events = await completed_events(kafka.bootstrap, model.name, 1201, timeout_s=40)
    assert len({event.request_id for event in events}) == len(events) == 1201
    assert {event.outcome for event in events} == {Outcome.COMPLETED}


async def test_tenant_behind_anothers_flood_is_served_next_and_the_flood_to_its_end(kafka: Broker) -> None:
    """What was left in the log is read again, each request once."""
    model = scripted_model(slots=2)
    rules = DispatchRules(
        model=model.name, price_at=lambda _: model.price, read_ahead=ReadAhead(per_tenant=8, per_lane=20)
    )
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        flood = [await client.ask(f"f{number}", max_tokens=1, tenant="flood") for number in range(400)]
        quiet = await client.ask("quiet", max_tokens=1, tenant="quiet")
        gone = flood[300]
        await client.cancel(gone)
        await running.add_dispatcher(rules)
        await running.add_replica()
        await asyncio.wait_for(quiet.done.wait(), 60)
        assert sum(one.done.is_set() for one in flood) < 50
        events = await completed_events(kafka.bootstrap, model.name, 401, timeout_s=40)
    assert len({event.request_id for event in events}) == len(events) == 401
    ended = {event.request_id: event.outcome for event in events}
    assert ended[gone.request.request_id] is Outcome.CANCELLED
    assert sum(outcome is Outcome.COMPLETED for outcome in ended.values()) == 400


@pytest.mark.parametrize("value", [b"no json", b'{"attempt":1,"tenant":"acme"}'])
async def test_lane_record_unreadable_ends_failed_for_whoever_waits(kafka: Broker, value: bytes) -> None:
    """By its key: its follower is told, its end is recorded, the lane goes on."""
    model = scripted_model()
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        await running.add_dispatcher()
        await running.add_replica()
        broken = await client.ask("x", encoded=value)
        fine = await client.ask("hello", max_tokens=3)
        await asyncio.wait_for(broken.done.wait(), 20)
        await asyncio.wait_for(fine.done.wait(), 20)
        events = await completed_events(kafka.bootstrap, model.name, 2)
    assert (broken.outcome, fine.outcome) == (Outcome.FAILED, Outcome.COMPLETED)
    assert {event.error_code for event in events} == {ErrorCode.REQUEST_UNREADABLE, None}


async def test_lane_record_just_below_the_limit_ends_failed_and_stops_nobody(kafka: Broker) -> None:
    """It fits into a record, and its assignment does not."""
    model = scripted_model()
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        await running.add_dispatcher()
        await running.add_replica()
        small = await client.ask("")
        large = await client.ask("a" * (MAX_RECORD_BYTES - len(small.request.encode()) - 10))
        fine = await client.ask("hello", max_tokens=3)
        await asyncio.wait_for(fine.done.wait(), 20)
        await asyncio.wait_for(large.done.wait(), 20)
        events = await completed_events(kafka.bootstrap, model.name, 3)
    assert (large.outcome, fine.outcome) == (Outcome.FAILED, Outcome.COMPLETED)
    assert {event.error_code for event in events} == {ErrorCode.BODY_TOO_LARGE, None}


async def test_status_and_work_of_a_newer_version_stop_nobody(kafka: Broker) -> None:
    """Unknown kinds and garbage under our own keys are passed over."""
    model = scripted_model()
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        await running.add_dispatcher()
        replica = (await running.add_replica()).part
        assert isinstance(replica, Replica)
        beat = ReplicaBeat(replica_id="x", model="m", host="h", pid=1, inbox=0, inbox_position=0, slots=1)
        for garbage in (b'{"kind":"paused","replica_id":"x"}', b"\xff", b'{"kind":"finished"}'):
            await client.put(STATUS_TOPIC.name, beat, garbage, key=replica.replica_id, partition=0)
            await client.put(WORK_TOPIC.name, beat, garbage, key=replica.replica_id, partition=replica._inbox)
        fine = await client.ask("hello", max_tokens=3)
        await asyncio.wait_for(fine.done.wait(), 20)
        await completed_events(kafka.bootstrap, model.name, 1)
    assert fine.outcome is Outcome.COMPLETED
