"""A database of generated requests, to be asked."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from services.common.store import Store
from tests.support.analyzer.recording import fresh_database
from tests.support.analyzer.traffic import Traffic, generate
from tests.support.store import RunningStore

TRAFFIC = Traffic(requests=20_000, days=3, end=datetime(2026, 11, 20, tzinfo=UTC), tenants=3, users=20)


@pytest.fixture(scope="package")
def generated_url(store: RunningStore) -> str:
    """A database with three days of three tenants' requests."""
    url = fresh_database(store)

    async def fill() -> None:
        door = Store(url)
        await generate(door, TRAFFIC)
        await door.close()

    asyncio.run(fill())
    return url


@pytest.fixture
async def generated(generated_url: str) -> AsyncIterator[Store]:
    """The same, to be asked."""
    door = Store(generated_url)
    yield door
    await door.close()
