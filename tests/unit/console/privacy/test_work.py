"""Which erasures a console works at, and what it tells of a place that is away."""

import asyncio
import re
import time
from datetime import datetime, timedelta
from typing import Any

import pytest

from schemas.events.audit import ErasedPlace, SubjectErasure
from services.common.bus import Outgoing
from services.common.control.errors import ConflictError
from services.common.control.reader import ControlReader
from services.common.errors import StoreRejectedError, StoreUnavailableError
from services.common.retry import Pauses
from services.console.privacy.control import ControlErasure
from services.console.privacy.elsewhere.langfuse import LangfuseRefusesKeysError
from services.console.privacy.elsewhere.security_memory import SecurityRoleBehindError
from services.console.privacy.log import ErasureLog
from services.console.privacy.stored.rows import Counted, Rows, Step, Work
from services.console.privacy.work import ErasureWorker, what_failed
from tests.support.console.answering_store import AnsweringStore
from tests.support.console.scene import BEGAN
from tests.unit.console.privacy.test_receipts import IDENTITIES, erasure


class ErasedStore(AnsweringStore):
    """A store that takes every statement and has `found` rows of requests, once; away
    for as many statements as `away` says.
    """

    away = 0
    found = 3

    async def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Counts."""
        if self.away:
            self.away -= 1
            raise StoreUnavailableError("there is none here")
        return [{"mutations": 0, "touched": 0, "found": self.found if "FROM inference_events" in sql else 0}]

    async def command(self, sql: str, parameters: Any = None) -> None:
        """Overwrites."""
        if sql.startswith("ALTER TABLE inference_events"):
            self.found = 0

    async def insert(self, table: Any, rows: Any, *, token: str) -> None:
        """Takes names."""


class Scene:
    """A console's worker whose bus is in memory."""

    def __init__(self, told: SubjectErasure) -> None:
        self.now = BEGAN
        self.store = ErasedStore()
        self.log = ErasureLog("", "test", self._send)
        self.log.put(told)
        self.told: list[SubjectErasure] = []
        control = ControlReader("", "test")
        self.worker = ErasureWorker(
            self.log,
            IDENTITIES,
            ControlErasure(control, self._write, self._send, self._partitions),
            Rows(self.store),
            lambda: self.now,
            "console",
            self._settled,
            patience_s=1e-9,
            pauses=Pauses(0.001, 0.001),
            jitter=lambda: 0.0,
        )

    async def works(self, until: Any) -> SubjectErasure:
        """Lets it work until something holds of the erasure."""
        task = asyncio.create_task(self.worker.run())
        try:
            async with asyncio.timeout(10):
                while not until(self.log.known["e1"]):  # noqa: ASYNC110  its records are what there is
                    await asyncio.sleep(0.001)
        finally:
            task.cancel()
        return self.log.known["e1"]

    async def _send(self, outgoing: Outgoing) -> None:
        if isinstance(outgoing.value, SubjectErasure):
            self.told.append(outgoing.value)

    async def _write(self, _: Any) -> None:
        return None

    async def _partitions(self, _: str) -> int:
        return 1

    async def _settled(self) -> None:
        return None


def due(at: datetime = BEGAN, **changes: Any) -> SubjectErasure:
    """An erasure whose first round is due."""
    return erasure(places=(), next_at=at, **changes)


async def test_three_rounds_end_with_a_receipt_that_tells_nobody() -> None:
    """What was found is counted once over all rounds; then nothing tells who it was."""
    scene = Scene(due())
    first = await scene.works(lambda one: one.rounds == 1)
    assert (first.state, first.next_at, bool(first.sealed)) == (
        "erased",
        first.cut_at + timedelta(minutes=1),
        True,
    )
    scene.now = BEGAN + timedelta(days=60)
    last = await scene.works(lambda one: one.state == "complete")
    assert (last.rounds, last.next_at, last.sealed) == (3, None, "")
    assert last.erased_at == BEGAN
    (requests,) = [one for one in last.places if one.place == "requests"]
    assert (requests.found, requests.erased, requests.left, requests.pending) == (3, 3, 0, 0)


async def test_what_was_begun_before_a_death_is_counted_though_it_is_gone() -> None:
    """The rows were overwritten, and the process died before it told."""
    begun = due().model_copy(update={"places": (ErasedPlace(place="requests", pending=3),)})
    scene = Scene(begun)
    scene.store.found = 0
    done = await scene.works(lambda one: one.rounds == 1)
    (requests,) = [one for one in done.places if one.place == "requests"]
    assert (requests.found, requests.erased) == (3, 3)


async def test_store_that_is_away_is_waited_for() -> None:
    """However often: the receipt is the same."""
    scene = Scene(due())
    scene.store.away = 7
    done = await scene.works(lambda one: one.rounds == 1)
    assert not [one for one in done.places if one.failed]
    (requests,) = [one for one in done.places if one.place == "requests"]
    assert (requests.found, requests.erased) == (3, 3)


@pytest.mark.parametrize("silent_s", [0.0, 61.0])
async def test_another_consoles_erasure_is_left_alone_until_it_is_silent(silent_s: float) -> None:
    """Who has heard of progress lately does not begin."""
    places = (ErasedPlace(place="requests", rounds=1),)
    scene = Scene(due().model_copy(update={"places": places}))
    scene.worker.patience_s = 60.0
    scene.log.heard_s["e1"] = time.monotonic() - silent_s
    assert bool(scene.worker._due()) == (silent_s > 60)


async def test_erasure_of_another_pepper_is_left_alone() -> None:
    """It is logged once, not each second, and never told as done."""
    other = due(erasure_id="e1").model_copy(update={"sealed": "bm9uZQ=="})
    scene = Scene(other)
    task = asyncio.create_task(scene.worker.run())
    async with asyncio.timeout(10):
        while "e1" not in scene.worker._unreadable:  # noqa: ASYNC110  nothing tells it
            await asyncio.sleep(0.001)
    task.cancel()
    assert scene.worker._due() == []
    assert scene.told == []
    assert scene.log.known["e1"].rounds == 0


_SECRET = "http://store-7.internal:8123 said UPDATE inference_events"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreUnavailableError(_SECRET), "The store (ClickHouse) was away"),
        (StoreRejectedError(_SECRET), "The store (ClickHouse) refused a statement"),
        (SecurityRoleBehindError(_SECRET), "The analyzer's security role had not read in time"),
        (LangfuseRefusesKeysError(_SECRET), "Langfuse refused the keys"),
        (ConflictError(_SECRET), "An entry of the control state was changed"),
        (ValueError(_SECRET), "It failed in a way that is not foreseen"),
    ],
)
def test_receipt_says_in_a_sentence_what_failed(error: Exception, said: str) -> None:
    """No name of a class, no address, no statement."""
    told = what_failed(error)
    assert told.startswith(said)
    assert told.endswith(".")
    assert not re.search(r"Error\b|UPDATE|internal:", told)


async def test_place_that_fails_in_an_unforeseen_way_is_told_and_others_go_on() -> None:
    """The receipt says so while it is tried again; once it is done it says nothing."""
    scene = Scene(due())
    failures = [KeyError("jo"), KeyError("jo")]

    async def count(_: Work) -> int:
        if failures:
            raise failures.pop()
        return 0

    async def erase(_: Work) -> Counted:
        return Counted()

    scene.worker.elsewhere = {"a place": Step(count, erase)}
    done = await scene.works(lambda one: one.rounds == 1)
    told = [one.failed for record in scene.told for one in record.places if one.place == "a place"]
    assert [one for one in told if one.startswith("It failed in a way that is not foreseen")]
    assert not [one for one in done.places if one.failed]
    assert "jo" not in str(told)
