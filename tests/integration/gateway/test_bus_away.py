"""The broker goes away and comes back."""

import asyncio

from schemas.inference import CancelRequested
from schemas.topics import COMMANDS
from services.common.bus import Start, Tail
from services.gateway.app import Gateway
from tests.integration.gateway.conftest import Scene, StartGateway, client_of, until
from tests.support.inference.fake_inference import FakeInference, words_of
from tests.support.kafka import Broker
from tests.support.sse_client import open_stream, text_of

CHAT = "/v1/chat/completions"


async def test_bus_away_is_503_and_nothing_half_accepted(
    scene: Scene, start_gateway: StartGateway, kafka: Broker
) -> None:
    """While the broker is down requests get 503 with retry-after; one that was on its
    way is cancelled once the broker has it after all.
    """
    gateway = await start_gateway(ack_timeout_s=0.5)
    body = {"model": scene.model, "messages": [{"role": "user", "content": "hello"}]}
    async with client_of(gateway, scene) as client:
        await ask_no_more(gateway)
        kafka.kill()
        try:
            first = await client.post(CHAT, json=body)
            assert (first.status_code, first.json()["error"]["code"]) == (503, "bus_unavailable")
            assert "may have begun" in first.json()["error"]["message"]
            assert int(first.headers["retry-after"]) >= 1
            await until(lambda: not gateway.serving.bus_monitor.available)
            assert (await client.post(CHAT, json=body)).status_code == 503
            assert (await client.get("/ready")).status_code == 503
        finally:
            await asyncio.to_thread(kafka.restart)
        gateway.serving.bus_monitor.interval_s = 0.5
        gateway.serving.bus_monitor.hurry()
        await until(lambda: gateway.serving.bus_monitor.available)
        assert await cancels(scene) == {"not_acknowledged"}
        async with FakeInference(scene.url, scene.model).running():
            assert (await client.post(CHAT, json=body)).status_code == 200


async def test_stream_outlives_the_brokers_restart(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference, kafka: Broker
) -> None:
    """A broker that is killed in mid-stream costs a pause: no piece is lost, none
    doubled, and its silence starts no further attempt.
    """
    gateway = await start_gateway(silence_s=1.0)
    body = {"model": scene.model, "messages": [{"role": "user", "content": "hello"}], "stream": True}
    inference.gate.clear()
    async with client_of(gateway, scene) as client, open_stream(client, "POST", CHAT, json=body) as stream:
        await stream.read(2)
        kafka.kill()
        await until(lambda: not gateway.serving.bus_monitor.available)
        await asyncio.to_thread(kafka.restart)
        inference.gate.set()
        await stream.read()
    assert text_of(stream.blocks) == "".join(words_of("hello", 0, 20))
    assert stream.blocks[-1][1] == "[DONE]"


async def ask_no_more(gateway: Gateway) -> None:
    """Lets the gateway ask no more whether the broker is there: so the first request
    after the broker's death is the first to find out.
    """
    monitor, progress = gateway.serving.bus_monitor, gateway.serving.readers.own.progress
    began, monitor.interval_s = monitor.clock(), 60.0
    monitor.hurry()
    await until(lambda: progress.current_at > began)


async def cancels(scene: Scene) -> set[str]:
    """Why requests of this model were taken back: waits for the first."""
    tail = Tail(scene.url, "test-commands", topic=COMMANDS.name)
    await tail.start([0], Start.BEGINNING)
    try:
        async with asyncio.timeout(20):
            while True:
                seen = [CancelRequested.model_validate_json(record.value) for record in await tail.poll()]
                if reasons := {cancel.reason for cancel in seen if cancel.model == scene.model}:
                    return reasons
    finally:
        await tail.close()
