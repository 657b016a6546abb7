"""A tenant that floods a model's queue, on a real broker."""

import asyncio

from schemas.inference import STATUS, Lane, QueueStatus
from schemas.topics import STATUS_TOPIC
from services.common.bus import Tail
from tests.support.inference.in_process import Client, scripted_model, stage
from tests.support.kafka import Broker

FLOOD = 1000
SLOTS = 2


async def queue_of(url: str, model: str, waiting: int) -> QueueStatus:
    """What the dispatcher says once so many wait."""
    tail = Tail(url, "watch", topic=STATUS_TOPIC.name)
    await tail.start([0])
    try:
        async with asyncio.timeout(60):
            while True:
                for record in await tail.poll():
                    status = STATUS.validate_json(record.value)
                    if (
                        isinstance(status, QueueStatus)
                        and status.model == model
                        and sum(status.waiting.values()) >= waiting
                    ):
                        return status
    finally:
        await tail.close()


async def test_flooding_tenant_delays_anothers_first_token_by_one_slot(kafka: Broker) -> None:
    """A thousand of one tenant wait; of them no more begin before the newcomer than slots
    were free, and its place was told.
    """
    model = scripted_model(tokens_per_s=10, slots=SLOTS)
    async with stage(kafka.bootstrap, model) as running, Client(kafka.bootstrap, model) as client:
        await running.add_dispatcher()
        await running.add_replica()
        flood = await asyncio.gather(
            *(client.ask(f"flood {number}", max_tokens=10, tenant="flood") for number in range(FLOOD))
        )
        before = await queue_of(kafka.bootstrap, model.name, FLOOD - 40)
        assert before.tenants[Lane.INTERACTIVE] == {"flood": before.waiting[Lane.INTERACTIVE]}
        for one in flood[:SLOTS]:
            await asyncio.wait_for(one.grew.wait(), 20)
        begun = sum(one.tokens > 0 for one in flood)
        quiet = await client.ask("quiet", max_tokens=1, tenant="quiet")
        await asyncio.wait_for(quiet.grew.wait(), 20)
        assert sum(one.tokens > 0 for one in flood) - begun <= SLOTS
        assert sum(one.tokens > 0 for one in flood) < FLOOD / 10
