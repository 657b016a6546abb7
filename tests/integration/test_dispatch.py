"""Dispatchers and replicas on a real broker: every request is answered whole and ends
once, whoever dies.
"""

import asyncio

from schemas.inference import Outcome
from services.inference.engines.scripted import scripted_text
from tests.support.inference import Client, completed_events, scripted_model, stage
from tests.support.kafka import Broker


async def test_request_ordinary_is_answered_and_ends_once(kafka: Broker) -> None:
    """A request goes over the bus to the engine and back; its end is one event with the
    tokens counted.
    """
    model = scripted_model(price={"input_per_million_usd": 1, "output_per_million_usd": 2})
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        await running.add_dispatcher()
        await running.add_replica()
        followed = await client.ask("hello", max_tokens=12)
        await asyncio.wait_for(followed.done.wait(), 20)
        assert followed.text == scripted_text("hello", 12, seed=1)
        (event,) = await completed_events(kafka.bootstrap, model.name, 1)
    assert (event.outcome, event.completion_tokens, event.attempts) == (Outcome.COMPLETED, 12, 1)
    assert event.cost_usd > 0
    assert event.prompt_text is None


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


async def test_request_cancelled_while_running_stops_and_ends_once(kafka: Broker) -> None:
    """A cancellation reaches the replica, which stops generating."""
    model = scripted_model(tokens_per_s=20)
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        await running.add_dispatcher()
        await running.add_replica()
        followed = await client.ask("long", max_tokens=4000)
        await asyncio.wait_for(followed.grew.wait(), 20)
        await client.cancel(followed)
        await asyncio.wait_for(followed.done.wait(), 20)
        (event,) = await completed_events(kafka.bootstrap, model.name, 1)
    assert (event.outcome, followed.outcome) == (Outcome.CANCELLED, Outcome.CANCELLED)
    assert event.completion_tokens < 4000


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
