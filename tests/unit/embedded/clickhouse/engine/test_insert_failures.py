"""Whether an insert was stored, by the engine's own count of those that failed."""

from types import SimpleNamespace
from typing import Any

import pytest

from services.embedded.clickhouse.engine.inserts import Insert, InsertFailures, Progress
from services.embedded.clickhouse.errors import StoreError


class FakeEngine:
    """Counts the inserts that fail, and how often it is asked for that; tells nobody
    else, as chDB does.
    """

    def __init__(self) -> None:
        self.failed = 0
        self.asked = 0
        self.failures = InsertFailures(lambda: self)

    def command(self, sql: str) -> bytes:
        """The count."""
        assert "FailedInsertQuery" in sql
        self.asked += 1
        return b"%d\n" % self.failed if self.failed else b""

    def close(self) -> None:
        """Holds nothing."""

    def insert(self, *, fails: bool = False, error: Exception | None = None) -> Insert:
        """One under way, which fails in silence, or with an error, when it is finished."""
        return Insert(Progress(), self.failures, lambda: FakeInserter(self, fails=fails, error=error))


class FakeInserter:
    """chDB's side of an insert."""

    def __init__(self, engine: FakeEngine, *, fails: bool, error: Exception | None) -> None:
        self.engine, self.fails, self.error = engine, fails, error

    def finish(self) -> Any:
        """All is well, it says."""
        self.engine.failed += self.fails
        if self.error is not None:
            raise self.error
        return SimpleNamespace(rows_written=1, bytes_written=8, elapsed=0.0)

    def cancel(self) -> None:
        """A cancelled insert counts as failed."""
        self.engine.failed += 1


def test_insert_that_is_stored_asks_for_failures_once() -> None:
    """What the one before it heard is what was known at its beginning."""
    engine = FakeEngine()
    for _ in range(10):
        engine.insert().finish()
    assert engine.asked == 11


def test_insert_that_fails_in_silence_is_an_error_and_the_next_is_not() -> None:
    """However often: the count of before is never newer than the insert."""
    engine = FakeEngine()
    for _ in range(3):
        with pytest.raises(StoreError, match="not stored"):
            engine.insert(fails=True).finish()
        engine.insert().finish()


def test_insert_beside_one_that_fails_is_called_failed_too_whoever_ends_first() -> None:
    """The count is the whole engine's; none that failed is ever called stored."""
    for failing_first in (True, False):
        engine = FakeEngine()
        failing, other = engine.insert(fails=True), engine.insert()
        first, second = (failing, other) if failing_first else (other, failing)
        heard = []
        for one in (first, second):
            try:
                one.finish()
            except StoreError:
                heard.append(one)
        assert failing in heard
        assert (other in heard) is failing_first


def test_insert_that_fails_while_others_begin_and_end_is_an_error() -> None:
    """What they hear meanwhile is not taken for what was known when it began."""
    engine = FakeEngine()
    failing = engine.insert(fails=True)
    engine.insert().finish()
    engine.failed += 1  # somebody else's
    engine.failures.count()
    with pytest.raises(StoreError, match="not stored"):
        failing.finish()


@pytest.mark.parametrize("how", ["cancelled", "refused", "elsewhere"])
def test_insert_after_a_failure_that_nobody_asked_about_is_not_taken_for_it(how: str) -> None:
    """One that was given up, whose rows were unreadable, or an INSERT ... SELECT."""
    engine = FakeEngine()
    engine.insert().finish()
    if how == "cancelled":
        engine.insert().cancel()
    elif how == "refused":
        refused = engine.insert(fails=True, error=RuntimeError("Code: 27. Cannot parse input"))
        with pytest.raises(StoreError):
            refused.finish()
        refused.cancel()
    else:
        engine.failed += 1
        engine.failures.forget()
    engine.insert().finish()


def test_insert_in_an_engine_opened_again_asks_anew() -> None:
    """Its count begins at nothing."""
    engine = FakeEngine()
    engine.failed = 7
    engine.insert().finish()
    engine.failures.close()
    engine.failed = 0
    engine.insert().finish()
    with pytest.raises(StoreError, match="not stored"):
        engine.insert(fails=True).finish()
