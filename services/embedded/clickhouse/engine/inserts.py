"""An INSERT that takes its rows piece by piece, and whether it was stored.

chDB 26.9 tells what is wrong with the rows that it is given. What fails behind that (a
disk that is full, no memory for a view, a constraint) it keeps to itself, and says that
all is well (ADR 20). It does count it: so each insert asks at its end how many inserts
have failed, and compares that with what was known when it began. Where another one
failed at the same time, both are called failed; both may be sent again.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from services.embedded.clickhouse.errors import StoreError


@dataclass(slots=True)
class Progress:
    """What a query has read and written so far."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    total_rows_to_read: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed_ns: int = 0

    def update(self, event: Mapping[str, int]) -> None:
        """Takes over an event of chDB's progress callback."""
        for name in self.__slots__:
            setattr(self, name, int(event.get(name, 0)))

    def summary(self) -> dict[str, str]:
        """The fields of X-ClickHouse-Summary."""
        return {name: str(getattr(self, name)) for name in self.__slots__}


class CountingHandle(Protocol):
    """What counting needs of a handle."""

    def command(self, sql: str) -> bytes:
        """Runs a statement; its result."""

    def close(self) -> None:
        """Gives it back."""


class InsertFailures:
    """The engine's own count of inserts that failed since it was opened, by a handle
    of its own; what it was when last asked is kept, so that an insert asks once.

    The engine only counts up: what is kept is never above what is true, so an insert
    that fails always finds more than was known at its beginning.
    """

    def __init__(self, make_handle: Callable[[], CountingHandle]) -> None:
        self._make_handle = make_handle
        self._handle: CountingHandle | None = None
        self._known: int | None = None
        self._lock = threading.RLock()

    def known(self) -> int:
        """How many there were at least, as last asked; asks where that is not known."""
        with self._lock:
            return self.count() if self._known is None else self._known

    def count(self) -> int:
        """How many by now."""
        with self._lock:
            if self._handle is None:
                self._handle = self._make_handle()
            self._known = int(
                self._handle.command("SELECT value FROM system.events WHERE event = 'FailedInsertQuery'") or 0
            )
            return self._known

    def forget(self) -> None:
        """A statement failed that nobody asks about, or was given up: the next insert is
        not to be taken for it.
        """
        with self._lock:
            self._known = None

    def close(self) -> None:
        """Closes the handle."""
        with self._lock:
            self._known = None
            if self._handle is not None:
                self._handle.close()
                self._handle = None


class Insert:
    """An INSERT under way.

    `begin` starts it in the engine, and returns chDB's inserter.
    """

    def __init__(self, progress: Progress, failures: InsertFailures, begin: Callable[[], Any]) -> None:
        self._progress = progress
        self._failures = failures
        try:
            self._failed_before = failures.known()
            self._inserter = begin()
        except Exception as error:
            failures.forget()
            raise StoreError.of_engine(error) from error

    def append(self, data: bytes) -> None:
        """More rows, cut anywhere."""
        try:
            self._inserter.append(data)
        except Exception as error:
            raise StoreError.of_engine(error) from error

    def finish(self) -> None:
        """Stores what is left and answers when it is stored.

        Raises:
            StoreError: It is not, or in part only.
        """
        try:
            result = self._inserter.finish()
            failed = self._failures.count()
        except Exception as error:
            raise StoreError.of_engine(error) from error
        if failed != self._failed_before:
            raise StoreError(
                1002,
                "UNKNOWN_EXCEPTION",
                "The rows were read, but not stored, or in part only; the engine does not say why. The disk "
                "or the memory may be short, or a constraint or a view of the table refuses them. Send "
                "them again, with the same insert_deduplication_token",
            )
        progress = self._progress
        progress.written_rows = progress.read_rows = progress.result_rows = int(result.rows_written)
        progress.written_bytes = progress.read_bytes = progress.result_bytes = int(result.bytes_written)
        progress.elapsed_ns = int(result.elapsed * 1e9)

    def cancel(self) -> None:
        """Gives up what is not stored yet; comes after every other error, too."""
        try:
            self._inserter.cancel()
        finally:
            self._failures.forget()
