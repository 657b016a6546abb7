"""A bounded way from producing threads to one asyncio reader."""

import asyncio
import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ThreadStream(Generic[Item]):
    """Threads put, one task reads; a full stream makes threads wait, a reader that left
    makes them stop.

    The event loop is woken once for whatever gathered since it last read, not once an
    item.
    """

    def __init__(self, *, limit: int = 256) -> None:
        self._loop = asyncio.get_running_loop()
        self._readable = asyncio.Event()
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._limit = limit
        self._left = False

    def put(self, item: Item) -> bool:
        """Called by a thread. False: nobody reads any more, stop producing."""
        with self._changed:
            while len(self._items) >= self._limit and not self._left:
                self._changed.wait(timeout=1)
                self._left = self._left or self._loop.is_closed()
            if self._left:
                return False
            self._items.append(item)
            return len(self._items) > 1 or self._wake_reader()

    async def read(self) -> list[Item]:
        """Called by the reader: everything that came since, at least one item."""
        await self._readable.wait()
        with self._changed:
            self._readable.clear()
            items = list(self._items)
            self._items.clear()
            self._changed.notify_all()
        return items

    def leave(self) -> None:
        """The reader reads no more; what comes is refused."""
        with self._changed:
            self._left = True
            self._items.clear()
            self._changed.notify_all()

    def _wake_reader(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._readable.set)
        except RuntimeError:  # the loop is closed
            self._left = True
            return False
        return True
