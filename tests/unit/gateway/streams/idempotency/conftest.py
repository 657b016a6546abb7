"""A gateway's keys over a log that is in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.common.requests.shared_room import SharedRoom
from services.gateway.streams.idempotency.claims import Claims
from services.gateway.streams.idempotency.keys import IdempotencyKeys
from tests.unit.gateway.streams.idempotency.scene import Log


@pytest.fixture
async def log() -> Log:
    """An empty log."""
    made = Log()
    made.slow.set()
    return made


@pytest.fixture
async def keys(log: Log) -> AsyncIterator[IdempotencyKeys]:
    """A gateway's keys, followed."""
    made: Any = IdempotencyKeys
    keys: IdempotencyKeys = made(
        log, log, log, b"pepper", lambda: 5, Claims(10), SharedRoom(1_000_000), claim_timeout_s=0.2
    )
    running = asyncio.create_task(keys.run())
    yield keys
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await keys.close()
