"""Consoles on real sockets, a real Kafka and the embedded store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from schemas.control import KeyChanged, Scope
from services.common.bus.administration.admin import provision
from services.common.requests.model_catalogue import load_models
from services.console.app import Console, build
from services.console.settings import Settings
from tests.support.analyzer.recording import fresh_database
from tests.support.control import PEPPER, make_key
from tests.support.kafka import Broker
from tests.support.store import RunningStore

StartConsole = Callable[..., Awaitable[httpx.AsyncClient]]
READ = (Scope.INFER, Scope.FEEDBACK, Scope.READ)


@dataclass(frozen=True)
class Platform:
    """A broker with topics, a migrated database, a model, and a key of each kind."""

    kafka_url: str
    store_url: str
    model: str
    models_file: Path
    reader: str
    reader_record: KeyChanged
    stranger: str
    admin: str
    infer_only: str


def bearer(key: str) -> dict[str, str]:
    """What a client of this key sends."""
    return {"authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def platform(kafka: Broker, store: RunningStore, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Topics, tables and keys: acme's reader, globex's stranger."""
    model = f"fake-{uuid4().hex[:8]}"
    models_file = tmp_path_factory.mktemp("models") / "models.yaml"
    entry = {"name": model, "engine": "scripted", "context_length": 4096}
    models_file.write_text(yaml.safe_dump({"models": [entry]}))

    async def prepare() -> Platform:
        url = kafka.bootstrap
        await provision(url, load_models(models_file), 0.125)
        reader, record = await make_key(url, scopes=READ)
        return Platform(
            url,
            fresh_database(store),
            model,
            models_file,
            reader,
            record,
            (await make_key(url, tenant="globex", scopes=READ))[0],
            (await make_key(url, scopes=(*READ, Scope.ADMIN, Scope.PLATFORM)))[0],
            (await make_key(url))[0],
        )

    return asyncio.run(prepare())


@pytest.fixture
async def start_console(platform: Platform) -> AsyncIterator[StartConsole]:
    """Starts consoles and gives a client of each; all end with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**overrides: Any) -> httpx.AsyncClient:
            values = {
                "kafka_url": platform.kafka_url,
                "clickhouse_url": platform.store_url,
                "models_file": str(platform.models_file),
                "instance": f"console-{uuid4().hex[:8]}",
                "port": 0,
                "key_pepper": PEPPER,
                "pseudonym_key": "a pseudonym key for tests",
            }
            console = build(Settings(**(values | overrides)))
            stack.push_async_callback(console.close)
            await console.start()
            working = asyncio.create_task(console.run())
            stack.push_async_callback(_stop, working)
            console.health.started = True
            client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{console.port}", timeout=30.0)
            return await stack.enter_async_context(client)

        yield start


@pytest.fixture
async def client(start_console: StartConsole) -> httpx.AsyncClient:
    """A client of one console."""
    return await start_console()


async def _stop(working: "asyncio.Task[Console]") -> None:
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
