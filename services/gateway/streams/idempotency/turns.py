"""Calls of one key at one gateway take their turns: while one takes what it needs and
claims the key, its duplicates wait, to find the claim rather than to take as much again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    calls: int = 0


@dataclass
class Turns:
    """A turn for each key that a call holds or waits for, and for no other."""

    _turns: dict[str, _Turn] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._turns)

    @asynccontextmanager
    async def of(self, digest: str, timeout_s: float) -> AsyncIterator[None]:
        """A key's turn; without it where that takes longer than `timeout_s`."""
        turn, taken = self._turns.setdefault(digest, _Turn()), False
        turn.calls += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    taken = await turn.lock.acquire()
            yield
        finally:
            if taken:
                turn.lock.release()
            turn.calls -= 1
            if not turn.calls:
                del self._turns[digest]
