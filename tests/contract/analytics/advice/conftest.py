"""A database with every planted case, and one to be filled by a test."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.common.store import Store
from tests.contract.analytics.advice.cases import CASES
from tests.support.analyzer.recording import fresh_database
from tests.support.store import RunningStore


@pytest.fixture(scope="package")
def planted_url(store: RunningStore) -> str:
    """A database with all cases."""
    url = fresh_database(store)

    async def fill() -> None:
        async with Store(url) as door:
            for case in CASES.values():
                for sql in case.rows:
                    await door.command(sql)

    asyncio.run(fill())
    return url


@pytest.fixture
async def planted(planted_url: str) -> AsyncIterator[Store]:
    """The same, to be asked; what is recommended of it is not in it."""
    async with Store(planted_url) as door:
        yield door


@pytest.fixture
async def empty(store: RunningStore) -> AsyncIterator[Store]:
    """A database without a row."""
    async with Store(fresh_database(store)) as door:
        yield door
