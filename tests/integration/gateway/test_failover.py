"""Replicas and gateways die, clients leave and come back: the text stays whole."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from schemas.inference import Lane, Outcome, RetryNeeded
from schemas.topics import requests_topic
from services.common.bus import Tail
from services.gateway.app import Gateway
from tests.integration.gateway.conftest import Scene, StartGateway, client_of, until
from tests.support.inference.fake_inference import FakeInference, words_of
from tests.support.sse_client import open_stream, text_of

WHOLE = "".join(words_of("hello", 0, 20))


def chat(scene: Scene, **more: Any) -> dict[str, Any]:
    """A streaming chat request's body."""
    return {"model": scene.model, "messages": [{"role": "user", "content": "hello"}], "stream": True, **more}


@contextlib.asynccontextmanager
async def clients(scene: Scene, *gateways: Gateway) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of each gateway."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client_of(gateway, scene)) for gateway in gateways]


async def test_stream_of_replicas_that_die_is_whole(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """Two replicas die one after the other: each next attempt continues exactly behind
    what was delivered.
    """
    inference.die_after = {1: 6, 2: 3}
    async with open_stream(client, "POST", "/v1/chat/completions", json=chat(scene, n=2)) as stream:
        await stream.read()
    assert [text_of(stream.blocks, index) for index in (0, 1)] == [
        "".join(words_of("hello", index, 20)) for index in (0, 1)
    ]
    assert [(one.attempt, one.delivered[0].tokens if one.delivered else 0) for one in inference.asked] == [
        (1, 0),
        (2, 6),
        (3, 9),
    ]
    assert inference.asked[1].previous is not None
    assert stream.blocks[-1][1] == "[DONE]"


async def test_whole_answer_of_a_replica_that_dies_is_whole(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """A client that does not stream notices nothing of a death."""
    inference.die_after = {1: 9}
    response = await client.post("/v1/chat/completions", json=chat(scene, stream=False))
    assert response.json()["choices"][0]["message"]["content"] == WHOLE


async def test_silence_of_a_running_request_starts_another_attempt(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """A replica that dies unnoticed by everybody else is noticed by the gateway."""
    inference.die_after, inference.announce_death = {1: 6}, False
    async with clients(scene, await start_gateway(silence_s=0.5)) as (client,):
        response = await client.post("/v1/chat/completions", json=chat(scene, stream=False))
    assert response.json()["choices"][0]["message"]["content"] == WHOLE
    assert [one.attempt for one in inference.asked] == [1, 2]


async def test_attempts_are_bounded(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """A request that kills every replica fails after the last attempt, with a reason."""
    inference.die_after = dict.fromkeys(range(1, 10), 0)
    async with clients(scene, await start_gateway(max_attempts=3)) as (client,):
        response = await client.post("/v1/chat/completions", json=chat(scene, stream=False))
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "attempts_exhausted"
    assert [one.attempt for one in inference.asked] == [1, 2, 3]


async def test_lost_end_is_told_again(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """Where the replica dies after its last chunk, the next attempt carries the end and
    everything delivered.
    """
    response = await client.post("/v1/chat/completions", json=chat(scene, stream=False))
    first = inference.asked[0]
    assert first.reply_to is not None
    origin = {"topic": "t", "partition": 0, "offset": 0}
    lost = RetryNeeded.model_validate(
        {
            "request_id": first.request_id,
            "tenant": first.tenant,
            "attempt": 1,
            "reason": "no heartbeat",
            "origin": origin,
        }
    )
    await inference.say(first, lost)
    await inference.until(lambda: len(inference.asked) == 2)
    again = inference.asked[1]
    assert again.ended is not None
    assert again.ended.outcome is Outcome.COMPLETED
    assert again.delivered[0].text == WHOLE == response.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("usage", [False, True])
async def test_reattached_stream_gives_exactly_the_rest(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference, *, usage: bool
) -> None:
    """From any event on, another gateway continues the stream as the first would have,
    byte by byte, and finished streams too.
    """
    first, second = await start_gateway(), await start_gateway()
    body = chat(scene, stream_options={"include_usage": usage})
    async with clients(scene, first, second) as (one, two):
        async with open_stream(one, "POST", "/v1/chat/completions", json=body) as stream:
            await stream.read()
        for cut in (0, 1, 2, len(stream.blocks) // 2, len(stream.blocks) - 1):
            headers = {"last-event-id": stream.blocks[cut][0]}
            async with open_stream(two, "GET", f"/v1/streams/{stream.request_id}", headers=headers) as rest:
                assert await rest.read() == stream.blocks[cut + 1 :]
        async with open_stream(two, "GET", f"/v1/streams/{stream.request_id}") as everything:
            assert await everything.read() == stream.blocks


async def test_stream_of_a_dead_gateway_goes_on_at_another_through_a_failover(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """The gateway goes away in mid-stream, then the replica dies: the second gateway
    delivers the rest and asks for the next attempt.
    """
    first, second = await start_gateway(), await start_gateway()
    inference.gate.clear()
    inference.die_after = {1: 6}
    async with clients(scene, first, second) as (one, two):
        async with open_stream(one, "POST", "/v1/chat/completions", json=chat(scene)) as stream:
            await stream.read(2)
            first.serving.registry.fail_all("stopping")
            error = await stream.read()
            assert '"gateway_stopping"' in error[-1][1]
        last_id = stream.blocks[1][0]
        async with open_stream(
            two, "GET", f"/v1/streams/{stream.request_id}", headers={"last-event-id": last_id}
        ) as rest:
            inference.gate.set()
            blocks = stream.blocks[:2] + await rest.read()
    assert text_of(blocks) == WHOLE
    assert blocks[-1][1] == "[DONE]"
    assert [one.attempt for one in inference.asked] == [1, 2]
    assert not inference.cancelled


@pytest.mark.parametrize("off_by", [timedelta(hours=-2), timedelta(minutes=30)])
async def test_request_of_a_gateway_whose_clock_is_wrong_is_found(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference, off_by: timedelta
) -> None:
    """Ids and look-ups go by the broker's time: a gateway that is hours slow or fast
    gives ids by which another finds the stream.
    """
    wrong = await start_gateway(clock=lambda: datetime.now(UTC) + off_by)
    right = await start_gateway()
    async with clients(scene, wrong, right) as (one, two):
        async with open_stream(one, "POST", "/v1/chat/completions", json=chat(scene)) as stream:
            await stream.read()
        for client in (one, two):
            async with open_stream(client, "GET", f"/v1/streams/{stream.request_id}") as again:
                assert await again.read() == stream.blocks


async def test_look_up_goes_by_the_brokers_time_whatever_the_writers_clock_says(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """A record that claims to be of 1970 or 2100 lies where it was appended."""
    topic, producer = (
        requests_topic(scene.model, Lane.INTERACTIVE),
        AIOKafkaProducer(bootstrap_servers=scene.url),
    )
    tail = Tail(scene.url, "test-times", topic=topic)
    await producer.start()
    before_ms = int(datetime.now(UTC).timestamp() * 1000) - 1000
    try:
        await tail.start([], {})
        for claimed_ms in (0, 4_102_444_800_000):
            sent = await producer.send_and_wait(topic, b"{}", partition=0, timestamp_ms=claimed_ms)
            at = await tail.offsets_at(topic, [0], before_ms)
            assert at[0] <= sent.offset
            assert (await tail.offsets_at(topic, [0], before_ms + 3_600_000))[0] == sent.offset + 1
    finally:
        await tail.close()
        await producer.stop()


@pytest.mark.parametrize(
    "digits", ["f" * 12 + "7" + "f" * 3 + "b" + "f" * 15, "0" * 12 + "7" + "0" * 3 + "8" + "0" * 15, "9" * 32]
)
async def test_request_id_out_of_range_is_404(client: httpx.AsyncClient, digits: str) -> None:
    """Years that no date can hold, the beginning of time, and what is no id at all."""
    assert (await client.get(f"/v1/streams/chatcmpl-{digits}")).status_code == 404
    assert (await client.delete(f"/v1/requests/cmpl-{digits}")).status_code == 404


async def test_look_up_that_the_log_does_not_answer_in_time_is_503(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """Whoever could not read the log does not say that there is nothing in it."""
    gateway = await start_gateway()
    async with clients(scene, gateway) as (client,):
        request_id = (await client.post("/v1/chat/completions", json=chat(scene, stream=False))).json()["id"]
        for topic in gateway.serving.bus_monitor.present:
            gateway.serving.reattacher.finder.scans.of(topic, 0).timeout_s = 0.0
        for response in (
            await client.get(f"/v1/streams/{request_id}"),
            await client.delete(f"/v1/requests/{request_id}"),
        ):
            assert (response.status_code, response.json()["error"]["code"]) == (503, "bus_unavailable")
            assert "retry-after" in response.headers


async def test_three_gateways_share_the_bus_without_mixing(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """Three gateways, four clients each, replicas that die: everyone gets their own
    whole text.
    """
    gateways = [await start_gateway() for _ in range(3)]
    inference.die_after = {1: 6}

    async def ask(client: httpx.AsyncClient, name: str) -> None:
        body = {"model": scene.model, "messages": [{"role": "user", "content": name}], "stream": True}
        async with open_stream(client, "POST", "/v1/chat/completions", json=body) as stream:
            assert text_of(await stream.read()) == "".join(words_of(name, 0, 20))

    async with clients(scene, *gateways) as all_clients:
        await asyncio.gather(
            *(
                ask(client, f"c{place}{number}")
                for place, client in enumerate(all_clients)
                for number in range(4)
            )
        )


async def test_client_that_leaves_cancels_its_request(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """Without a resume window, closing the connection takes the request back."""
    inference.gate.clear()
    async with open_stream(client, "POST", "/v1/chat/completions", json=chat(scene)) as stream:
        await stream.read(2)
    await inference.until(lambda: bool(inference.cancelled))
    assert (inference.cancelled[0].request_id, inference.cancelled[0].reason) == (
        stream.request_id,
        "client_left",
    )


async def test_client_that_comes_back_within_its_window_keeps_its_request(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """With a resume window the request goes on; once the client is back elsewhere, the
    first gateway cancels it no more.
    """
    first, second = await start_gateway(), await start_gateway()
    inference.gate.clear()
    async with clients(scene, first, second) as (one, two):
        headers = {"x-resume-window": "60"}
        async with open_stream(
            one, "POST", "/v1/chat/completions", json=chat(scene), headers=headers
        ) as stream:
            await stream.read(2)
        async with open_stream(
            two, "GET", f"/v1/streams/{stream.request_id}", headers={"last-event-id": stream.blocks[-1][0]}
        ) as rest:
            await until(lambda: first.serving.registry.followed == 0)
            inference.gate.set()
            blocks = stream.blocks + await rest.read()
    assert text_of(blocks) == WHOLE
    assert not inference.cancelled


async def test_window_that_passes_cancels(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """A client that does not come back loses its request when the window is over."""
    inference.gate.clear()
    async with open_stream(
        client, "POST", "/v1/chat/completions", json=chat(scene), headers={"x-resume-window": "0.5"}
    ) as stream:
        await stream.read(2)
    await inference.until(lambda: bool(inference.cancelled))


async def test_delete_cancels_from_any_gateway(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """DELETE finds a request that came to another gateway; its stream ends with an
    error.
    """
    first, second = await start_gateway(), await start_gateway()
    inference.gate.clear()
    async with (
        clients(scene, first, second) as (one, two),
        open_stream(one, "POST", "/v1/chat/completions", json=chat(scene)) as stream,
    ):
        await stream.read(2)
        response = await two.delete(f"/v1/requests/{stream.request_id}")
        assert response.status_code == 202
        assert '"request_cancelled"' in (await stream.read())[-1][1]
        never_given = stream.request_id[:-1] + ("0" if stream.request_id[-1] != "0" else "1")
        assert (await two.delete(f"/v1/requests/{never_given}")).status_code == 404


async def test_request_that_no_replica_takes_is_given_up_and_cancelled(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """A request that waits beyond its time gets 504, and the bus is told."""
    inference.mute = True
    async with clients(scene, await start_gateway(interactive_timeout_s=0.2)) as (client,):
        response = await client.post("/v1/chat/completions", json=chat(scene, stream=False))
        assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
        await inference.until(lambda: bool(inference.cancelled))


async def test_client_that_leaves_a_whole_answer_cancels_it(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """A client that gives up waiting for an answer in one piece takes its request back
    too.
    """
    inference.gate.clear()
    with pytest.raises(httpx.ReadTimeout):
        await client.post("/v1/chat/completions", json=chat(scene, stream=False), timeout=1.0)
    await inference.until(lambda: bool(inference.cancelled))
