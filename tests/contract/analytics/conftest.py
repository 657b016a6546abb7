"""A database of generated requests, to be asked."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from services.common.store import Store
from services.common.store.migrations import migrate
from services.common.store.reading import ViewReader
from tests.support.analyzer.recording import fresh_database
from tests.support.analyzer.traffic import Traffic, generate
from tests.support.console.scene import ConsoleScene
from tests.support.store import RunningStore

_DAYS_OF_THREE = Traffic(requests=20_000, days=3, end=datetime(2026, 11, 20, tzinfo=UTC), tenants=3, users=20)

END = datetime(2026, 9, 20, tzinfo=UTC)
BEGIN = END - timedelta(days=2)
TRAFFIC = Traffic(6_000, 2, END, tenants=3, users=9, seed=7)
SPAN = "from=2026-09-18&to=2026-09-20"


@pytest.fixture(scope="package")
def generated_url(store: RunningStore) -> str:
    """A database with three days of three tenants' requests."""
    url = fresh_database(store)

    async def fill() -> None:
        door = Store(url)
        await generate(door, _DAYS_OF_THREE)
        await door.close()

    asyncio.run(fill())
    return url


@pytest.fixture
async def generated(generated_url: str) -> AsyncIterator[Store]:
    """The same, to be asked."""
    door = Store(generated_url)
    yield door
    await door.close()


@pytest.fixture(scope="package")
def filled(store: RunningStore) -> RunningStore:
    """Requests of a time that no other test has, in the platform's own database, whose
    views the row policies are on.
    """
    migrate(store.url("admin"))

    async def fill() -> None:
        async with Store(store.url("admin")) as door:
            await generate(door, TRAFFIC)

    asyncio.run(fill())
    return store


@pytest.fixture
async def reader(filled: RunningStore) -> AsyncIterator[ViewReader]:
    """What the console reads with."""
    made = ViewReader(filled.url("service"))
    yield made
    await made.close()


@pytest.fixture
def scene(reader: ViewReader) -> ConsoleScene:
    """A console before that store, with two tenants of the traffic."""
    made = ConsoleScene()
    made.console.views.text = reader.text  # type: ignore[method-assign]
    for tenant in ("tenant-00", "tenant-01"):
        made.have_tenant(tenant)
    return made
