"""The gateway as a process of its own: it starts by its settings and stops without
cutting anybody off.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psutil
import pytest

from services.embedded.installation.ports import free_port
from tests.integration.gateway.conftest import Scene, StartGateway, client_of
from tests.support.control import PEPPER
from tests.support.inference.fake_inference import FakeInference, words_of
from tests.support.sse_client import open_stream, text_of

WHOLE = "".join(words_of("hello", 0, 20))


@contextlib.asynccontextmanager
async def gateway_process(
    scene: Scene, **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """A running gateway that is ready, and a client of it."""
    port = free_port()
    settings = {
        "TOCSIN_KAFKA_URL": scene.url,
        "TOCSIN_GATEWAY_PORT": str(port),
        "TOCSIN_KEY_PEPPER": PEPPER,
        "TOCSIN_PSEUDONYM_KEY": "a pseudonym key for tests",
        "TOCSIN_MODELS_FILE": str(scene.models_file),
        "TOCSIN_INSPECT_WORKERS": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway", env=os.environ | settings | environment
    )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=scene.headers, timeout=30.0
        ) as client:
            await ready(client)
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ready(client: httpx.AsyncClient) -> None:
    """Waits until the gateway can serve."""
    async with asyncio.timeout(40):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.05)


def chat(scene: Scene) -> dict[str, Any]:
    """A streaming chat request's body."""
    return {"model": scene.model, "messages": [{"role": "user", "content": "hello"}], "stream": True}


async def test_process_told_to_stop_finishes_its_streams(scene: Scene, inference: FakeInference) -> None:
    """After SIGTERM nobody new is let in, the running stream ends as it should, and the
    exit status is 0.
    """
    inference.gate.clear()
    async with (
        gateway_process(scene) as (process, client),
        open_stream(client, "POST", "/v1/chat/completions", json=chat(scene)) as stream,
    ):
        await stream.read(2)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            with contextlib.suppress(httpx.TransportError):
                while (await client.get("/health", headers={"connection": "close"})).status_code == 200:  # noqa: ASYNC110  another process has no event
                    await asyncio.sleep(0.05)
        inference.gate.set()
        await stream.read()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert text_of(stream.blocks) == WHOLE
    assert stream.blocks[-1][1] == "[DONE]"


async def test_process_that_may_not_wait_hands_its_streams_over(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """Beyond the drain timeout streams are cut with a reason and not cancelled: another
    gateway gives the rest.
    """
    other = await start_gateway()
    inference.gate.clear()
    async with (
        gateway_process(scene, TOCSIN_DRAIN_TIMEOUT_S="1") as (process, client),
        client_of(other, scene) as second,
    ):
        async with open_stream(client, "POST", "/v1/chat/completions", json=chat(scene)) as stream:
            await stream.read(2)
            process.send_signal(signal.SIGTERM)
            assert '"gateway_stopping"' in (await stream.read())[-1][1]
        assert await asyncio.wait_for(process.wait(), 20) == 0
        async with open_stream(
            second, "GET", f"/v1/streams/{stream.request_id}", headers={"last-event-id": stream.blocks[1][0]}
        ) as rest:
            inference.gate.set()
            blocks = stream.blocks[:2] + await rest.read()
    assert text_of(blocks) == WHOLE
    assert not inference.cancelled


async def test_process_killed_loses_no_stream(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """Killed with -9: the client that reattaches elsewhere gets exactly the rest."""
    other = await start_gateway()
    inference.gate.clear()
    async with gateway_process(scene) as (process, client), client_of(other, scene) as second:
        async with open_stream(client, "POST", "/v1/chat/completions", json=chat(scene)) as stream:
            await stream.read(2)
            process.kill()
            with pytest.raises(httpx.TransportError):
                await stream.read()
        inference.gate.set()
        async with open_stream(
            second, "GET", f"/v1/streams/{stream.request_id}", headers={"last-event-id": stream.blocks[-1][0]}
        ) as rest:
            blocks = stream.blocks + await rest.read()
    assert text_of(blocks) == WHOLE


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
async def test_process_takes_its_inspection_workers_with_it(scene: Scene, by: signal.Signals) -> None:
    """However it ends; a SIGTERM that comes to all of them ends in order, too."""
    async with gateway_process(scene, TOCSIN_INSPECT_WORKERS="1") as (process, client):
        [worker] = psutil.Process(process.pid).children()
        assert (
            "rules and model" in (await client.get("/ready")).json()["dependencies"]["inspection"]["detail"]
        )
        if by is signal.SIGTERM:
            worker.send_signal(by)
        process.send_signal(by)
        await asyncio.wait_for(process.wait(), 20)
        gone, _ = await asyncio.to_thread(psutil.wait_procs, [worker], 20)
    assert gone == [worker]


async def test_process_that_was_stopped_reads_up_to_the_present_before_it_acts(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """Stopped for longer than a replica may be silent: the stream that its client took
    up elsewhere meanwhile is not cancelled, and replicas that went on are not taken for
    dead.
    """
    other = await start_gateway()
    inference.gate.clear()
    async with (
        gateway_process(scene, TOCSIN_SILENCE_S="0.6") as (process, client),
        client_of(other, scene) as second,
        contextlib.AsyncExitStack() as stack,
    ):
        stay = [
            await stack.enter_async_context(
                open_stream(client, "POST", "/v1/chat/completions", json=chat(scene))
            )
            for _ in range(6)
        ]
        async with open_stream(client, "POST", "/v1/chat/completions", json=chat(scene)) as stream:
            for one in (stream, *stay):
                await one.read(2)
            process.send_signal(signal.SIGSTOP)
        headers = {"last-event-id": stream.blocks[-1][0]}
        async with open_stream(second, "GET", f"/v1/streams/{stream.request_id}", headers=headers) as rest:
            beats = inference.beats
            await inference.until(lambda: inference.beats > beats + 7 * 15)
            process.send_signal(signal.SIGCONT)
            taken_back = stay.pop()
            assert (await client.delete(f"/v1/requests/{taken_back.request_id}")).status_code == 202
            await inference.until(lambda: bool(inference.cancelled))
            inference.gate.set()
            blocks = stream.blocks + await rest.read()
        for one in stay:
            await one.read()
    assert [(one.request_id, one.reason) for one in inference.cancelled] == [(taken_back.request_id, "asked")]
    assert {text_of(blocks), *(text_of(one.blocks) for one in stay)} == {WHOLE}
    assert {one.attempt for one in inference.asked} == {1}


async def test_process_without_its_secrets_says_what_to_set() -> None:
    """A missing setting is named on standard error, and the exit status is 2."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 2
    assert b"TOCSIN_KEY_PEPPER" in stderr
