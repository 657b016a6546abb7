"""Taking over: what was said of pending requests, in whatever order it was written."""

from dataclasses import replace
from decimal import Decimal

import pytest

from schemas.inference import CancelRequested, Delivered, End, Outcome, RequestFinished, Usage
from schemas.topics import COMMANDS, STATUS_TOPIC
from services.common.bus import TopicPartition
from services.common.requests.model_catalogue import Price
from services.inference.dispatcher.takeover import replay
from tests.support.bus.records import record
from tests.support.inference.dispatch_world import LANE, RULES, World, request
from tests.support.inference.fake_log import FakeLog, adapter_of, connections_of


@pytest.mark.parametrize(("reason", "free"), [("not_acknowledged", True), ("client_left", False)])
async def test_takeover_prices_no_end_before_it_knows_who_was_refused(reason: str, *, free: bool) -> None:
    """The replica's report lies in another topic than the refusal: both are read before
    the first end can be committed, and the cancellation is read again afterwards.
    """
    world = World(rules=replace(RULES, price_at=lambda _: Price(output_per_million_usd=Decimal(1))))
    world.ask(request(1))
    finished = RequestFinished(
        replica_id="m#1",
        model="m",
        request_id="r1",
        attempt=1,
        end=End(outcome=Outcome.COMPLETED, usage=Usage(prompt_tokens=1, completion_tokens=2)),
        choices=(Delivered(text="answer", tokens=2),),
    )
    cancel = CancelRequested(request_id="r1", model="m", tenant="acme", reason=reason)
    other = CancelRequested(request_id="r1", model="another", tenant="acme", reason="not_acknowledged")
    log = FakeLog(
        {
            STATUS_TOPIC.name: [record(finished.encode(), key=b"m#1", topic=STATUS_TOPIC.name)],
            COMMANDS.name: [
                record(other.encode(), topic=COMMANDS.name),
                record(cancel.encode(), topic=COMMANDS.name, offset=1),
            ],
        }
    )
    connections = connections_of(log, TopicPartition(LANE, 0))
    await replay(connections, world.dispatch, adapter_of(connections), 0)
    assert "r1" in world.dispatch.completions.ended
    (ended,) = world.dispatch.completions.ends
    assert (ended.event.cost_usd == 0) == free
    assert [one.offset for one in await connections.commands.poll()] == [0, 1]
