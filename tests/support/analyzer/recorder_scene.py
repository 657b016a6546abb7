"""Everything between an event and its row, as fixtures: tests/integration/conftest.py
offers them.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.common.store import Store
from tests.support.analyzer.recording import (
    EventSource,
    RecorderProcess,
    eventually,
    fresh_database,
    ledger,
    provision_topics,
    rollups_disagree,
)
from tests.support.kafka import OwnBroker
from tests.support.store import RunningStore


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[OwnBroker]:
    """A Kafka of the test's own: it may be killed, and its topics hold nothing else."""
    own = OwnBroker(tmp_path / "kafka")
    own.start()
    yield own
    own.kill()


@dataclass
class Scene:
    """Everything between an event and its row."""

    broker: OwnBroker
    running_store: RunningStore
    url: str
    store: Store
    source: EventSource
    recorder: RecorderProcess
    folder: Path

    def another_recorder(self, **environment: str) -> RecorderProcess:
        """A recorder of the same group."""
        return RecorderProcess(self.broker.bootstrap, self.url, self.folder / "recorder.log", **environment)

    async def all_recorded(self, invalid: int = 0, within_s: float = 120.0) -> None:
        """Waits until every event that was sent has its row or is among the dead
        letters, then proves that each is there once.
        """

        async def complete() -> bool:
            row = await ledger(self.store, self.source.source)
            return bool(row) and row["rows"] >= self.source.sent - invalid and row["dead_lettered"] >= invalid  # type: ignore[operator]

        try:
            await eventually(complete, within_s=within_s, what="everything is recorded")
        except AssertionError as error:
            raise AssertionError(
                f"{error}; {self.source.sent} sent, ledger "
                f"{await ledger(self.store, self.source.source)}; {self.recorder.output[-2000:]}"
            ) from None
        assert await ledger(self.store, self.source.source) == {
            "topic": "inference.completed.v1",
            "source": self.source.source,
            "rows": self.source.sent - invalid,
            "dead_lettered": invalid,
            "first": 0,
            "last": self.source.sent - 1,
            "gaps": 0,
            "doubles": 0,
        }
        try:
            await eventually(self._rollups_agree, within_s=10, what="the rollups agree with the table")
        except AssertionError as error:
            raise AssertionError(f"{error}: {await rollups_disagree(self.store)}") from error

    async def _rollups_agree(self) -> bool:
        return await rollups_disagree(self.store) == []


@pytest.fixture
async def scene(own_broker: OwnBroker, store: RunningStore, tmp_path: Path) -> AsyncIterator[Scene]:
    """A broker with its topics, a migrated database, a source of events; the recorder
    is not started yet.
    """
    await provision_topics(own_broker.bootstrap)
    url = fresh_database(store)
    source, door = EventSource(own_broker.bootstrap), Store(url, timeout_s=20)
    await source.start()
    found = Scene(
        own_broker,
        store,
        url,
        door,
        source,
        RecorderProcess(own_broker.bootstrap, url, tmp_path / "recorder.log"),
        tmp_path,
    )
    yield found
    found.recorder.kill()
    await found.source.close()
    await door.close()
