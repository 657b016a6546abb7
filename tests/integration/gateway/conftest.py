"""Gateways on real sockets, a real Kafka, and a fake inference side."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from services.common.bus.administration.admin import provision
from services.common.clock import Clock
from services.common.requests.model_catalogue import load_models
from services.gateway.app import Gateway, build
from services.gateway.settings import Settings
from tests.support.control import PEPPER, make_key
from tests.support.inference.fake_inference import FakeInference
from tests.support.kafka import Broker

SCALE = 0.125

StartGateway = Callable[..., Awaitable[Gateway]]


@dataclass(frozen=True)
class Scene:
    """What a test stands on: a broker with topics, a model of the test's own, a key."""

    url: str
    model: str
    models_file: Path
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """What a client of this key sends."""
        return {"authorization": f"Bearer {self.key}"}

    def settings(self, **overrides: Any) -> Settings:
        """A gateway's settings."""
        values = {
            "kafka_url": self.url,
            "models_file": str(self.models_file),
            "instance": f"gateway-{uuid4().hex[:8]}",
            "port": 0,
            "key_pepper": PEPPER,
            "pseudonym_key": "a pseudonym key for tests",
            "partition_scale": SCALE,
            "inspect_workers": 0,
        }
        return Settings(**(values | overrides))


@pytest.fixture(scope="module")
def scene(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A model that no other file uses, its topics, and a key for it."""
    model = f"fake-{uuid4().hex[:8]}"
    models_file = tmp_path_factory.mktemp("models") / "models.yaml"
    models_file.write_text(
        yaml.safe_dump(
            {
                "models": [
                    {
                        "name": model,
                        "aliases": [f"{model}-alias"],
                        "engine": "scripted",
                        "context_length": 4096,
                    }
                ]
            }
        )
    )

    async def prepare() -> str:
        await provision(kafka.bootstrap, load_models(models_file), SCALE)
        clear, _ = await make_key(kafka.bootstrap)
        return clear

    return Scene(kafka.bootstrap, model, models_file, asyncio.run(prepare()))


@contextlib.asynccontextmanager
async def running(scene: Scene, clock: Clock | None = None, **overrides: Any) -> AsyncIterator[Gateway]:
    """A gateway that can serve."""
    gateway = build(scene.settings(**overrides))
    if clock is not None:
        gateway.serving.publisher.bus_clock.clock = clock
    try:
        await gateway.start()
        working = asyncio.create_task(gateway.run())
        try:
            gateway.health.started = True
            await can_serve(gateway)
            yield gateway
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
    finally:
        await gateway.close()


@pytest.fixture
async def start_gateway(scene: Scene) -> AsyncIterator[StartGateway]:
    """Starts gateways, which can serve once they are given; all end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(clock: Clock | None = None, **overrides: Any) -> Gateway:
            return await stack.enter_async_context(running(scene, clock, **overrides))

        yield start


@pytest.fixture(scope="module")
def shared_gateway(scene: Scene) -> Iterator[int]:
    """The port of a gateway for all tests of a file, those that only ask it over HTTP: it
    runs in a thread, whose event loop outlives theirs.
    """
    told: Future[tuple[int, Callable[[], object]]] = Future()

    async def serve() -> None:
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            async with running(scene) as gateway:
                told.set_result((gateway.port, lambda: loop.call_soon_threadsafe(ended.set)))
                await ended.wait()
        except BaseException as error:
            if told.done():
                raise
            told.set_exception(error)

    with ThreadPoolExecutor(1, "shared-gateway") as thread:
        serving = thread.submit(asyncio.run, serve())
        port, end = told.result(60)
        yield port
        end()
        serving.result(60)


async def can_serve(gateway: Gateway) -> None:
    """Waits until Kafka answers, and the idempotency keys that there are have been read;
    limits and risks are read by `start`.
    """
    tail = gateway.serving.idempotency.tail
    ends = await tail.end_offsets(tail.topic, [0])
    async with asyncio.timeout(20):
        while not gateway.serving.bus_monitor.available or await tail.position(tail.topic, 0) < ends[0]:  # noqa: ASYNC110  what is looked at has no event
            await asyncio.sleep(0.02)


@pytest.fixture
async def inference(scene: Scene) -> AsyncIterator[FakeInference]:
    """The fake inference side, running."""
    async with FakeInference(scene.url, scene.model).running() as fake:
        yield fake


@pytest.fixture
async def client(scene: Scene, shared_gateway: int) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway that all tests of a file share."""
    async with client_at(shared_gateway, scene) as http:
        yield http


def client_of(gateway: Gateway, scene: Scene) -> httpx.AsyncClient:
    """A client of a gateway."""
    return client_at(gateway.port, scene)


def client_at(port: int, scene: Scene) -> httpx.AsyncClient:
    """A client of the gateway at a port."""
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=scene.headers, timeout=30.0)


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Waits for a condition that nothing announces."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  what is looked at has no event
            await asyncio.sleep(0.02)
