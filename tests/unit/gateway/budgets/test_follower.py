"""What was spent is exact whenever a budget is made, wherever the store is."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Subject
from services.common.budgets.spend import Spender, SpendKey, Spent
from services.common.errors import StoreUnavailableError
from services.gateway.budgets.book import BudgetBook
from services.gateway.budgets.follower import SpendFollower
from services.gateway.budgets.reservations import Reservations
from services.gateway.budgets.spending import Spending
from tests.unit.gateway.budgets import NOW, budget, spend_key

PARTITIONS = 2
TENANTS = ("acme", "globex")


def end(number: int, tenant: str, partition: int, offset: int, **changes: object) -> Any:
    """The record of a request that ended and cost a power of two, so that sums tell which."""
    event = {
        "tenant": tenant,
        "key_id": "key00001",
        "user": "",
        "model": "m",
        "cost_usd": str(2**number),
        "completed_at": NOW.isoformat(),
    } | changes
    return SimpleNamespace(
        key=f"r{number}".encode(),
        value=orjson.dumps({name: value for name, value in event.items() if value is not None}),
        headers=[("ce_id", b"x"), ("ce_tenant", tenant.encode())],
        partition=partition,
        offset=offset,
    )


@dataclass
class FakeLog:
    """A topic of two partitions, its reader, and a store that has recorded part of it."""

    records: list[list[Any]] = field(default_factory=lambda: [[], []])
    places: list[int] = field(default_factory=lambda: [0, 0])
    recorded: list[int] = field(default_factory=lambda: [0, 0])
    away: bool = False
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    begun: bool = False

    def __post_init__(self) -> None:
        self.answers.set()

    def append(self, number: int, tenant: str, **changes: object) -> None:
        """A request ends."""
        partition = number % PARTITIONS
        log = self.records[partition]
        log.append(end(number, tenant, partition, len(log), **changes))

    async def start(self, _partitions: object, _start: object) -> None:
        """At the end."""
        self.begun = True
        self.places = [len(one) for one in self.records]

    async def partitions(self, _topic: str) -> int:
        """Two."""
        return PARTITIONS

    async def end_offsets(self, _topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """As they are."""
        return {one: len(self.records[one]) for one in partitions}

    async def position(self, _topic: str, partition: int) -> int:
        """Of the reader."""
        return self.places[partition]

    async def close(self) -> None:
        """Disconnects."""
        self.begun = False

    def seek(self, _topic: str, partition: int, offset: int) -> None:
        """Of the reader."""
        self.places[partition] = offset

    async def poll(self, _timeout_s: float, _max_records: int) -> list[Any]:
        """At most three records of each."""
        assert self.begun
        found = []
        for partition, place in enumerate(self.places):
            batch = self.records[partition][place : place + 3]
            self.places[partition] += len(batch)
            found += batch
        return found

    async def highest_offsets(self) -> dict[int, int]:
        """What the store has."""
        await self.answers.wait()
        if self.away:
            raise StoreUnavailableError("away")
        return {one: count - 1 for one, count in enumerate(self.recorded) if count}

    async def spent(
        self, spend_keys: Iterable[SpendKey], _now: datetime, through: Mapping[int, int]
    ) -> dict[SpendKey, list[Spent]]:
        """The store's sums up to there."""
        found = {}
        for one in spend_keys:
            events = [
                orjson.loads(record.value)
                for log in self.records
                for record in log
                if record.offset <= through.get(record.partition, -1)
            ]
            usd = sum(
                (Decimal(event["cost_usd"]) for event in events if event["tenant"] == one.spender.tenant),
                Decimal(0),
            )
            found[one] = [Spent(one.period_at(NOW).start, usd)]
        return found


@dataclass
class Scene:
    """A follower, and the control state's budgets."""

    log: FakeLog = field(default_factory=FakeLog)
    entries: dict[str, Any] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    held: Reservations = field(default_factory=Reservations)

    def __post_init__(self) -> None:
        self.book = BudgetBook(spend_key)
        self.follower = SpendFollower(
            self.log,  # type: ignore[arg-type]
            self.log,  # type: ignore[arg-type]
            self.book,
            Spending(),
            lambda: NOW,
            self._on_round,
            lambda one: self.ended.append(one.request_id),
        )

    def _on_round(self) -> bool:
        self.book.read(dict(self.entries))
        return bool(self.entries or len(self.held))

    def known(self, tenant: str) -> Decimal | None:
        """What this tenant has spent; None where that is not known."""
        one = SpendKey(Spender("tenant", tenant, tenant), "day", "UTC")
        return self.follower.spending.spent(one, NOW) if self.follower.is_ready([one]) else None

    def make(self, tenant: str) -> None:
        """An administrator makes a budget, or takes it away."""
        if self.entries.pop(tenant, None) is None:
            subject = Subject(kind="tenant", id=tenant)
            self.entries[tenant] = budget(budget_id=tenant, tenant=tenant, subject=subject)


_STEPS = st.lists(
    st.one_of(
        st.sampled_from(["end", "end", "end", "round", "round", "record 0", "record 1"]),
        st.sampled_from([f"budget {one}" for one in TENANTS]),
    ),
    max_size=60,
)


@given(_STEPS)
async def test_spending_is_exact_however_budgets_reads_and_records_interleave(steps: list[str]) -> None:
    """Each end counts once for each budget that is known, and none is missing."""
    scene, numbers = Scene(), iter(range(1000))
    for step in steps:
        match step.split():
            case ["end"]:
                scene.log.append(number := next(numbers), TENANTS[number % 3 % 2])
            case ["record", partition]:
                where = int(partition)
                scene.log.recorded[where] = min(len(scene.log.records[where]), scene.log.recorded[where] + 2)
            case ["budget", tenant]:
                scene.make(tenant)
            case _ if scene.entries or scene.log.begun:
                await scene.follower.round()
    for _ in range(60):
        if scene.entries or scene.log.begun:
            await scene.follower.round()
    for tenant in TENANTS:
        truth = sum(
            (
                Decimal(event["cost_usd"])
                for log in scene.log.records
                for record in log
                if (event := orjson.loads(record.value))["tenant"] == tenant
            ),
            Decimal(0),
        )
        assert scene.known(tenant) == (truth if tenant in scene.entries else None)


async def test_store_that_is_away_leaves_new_budgets_unknown_and_others_true() -> None:
    """Until it is back."""
    scene = Scene()
    scene.make("acme")
    await scene.follower.round()
    assert scene.known("acme") == 0
    scene.log.away = True
    scene.make("globex")
    with pytest.raises(StoreUnavailableError):
        await scene.follower.round()
    scene.log.append(0, "acme")
    scene.follower.take(await scene.log.poll(0, 1))
    assert (scene.known("acme"), scene.known("globex")) == (1, None)
    scene.log.away = False
    await scene.follower.round()
    assert (scene.known("acme"), scene.known("globex")) == (1, 0)
    assert not await scene.follower.wait_until_ready([SpendKey(Spender("key", "a", "k"), "day", "UTC")], 0.01)


async def test_store_that_does_not_answer_holds_up_no_reading() -> None:
    """What others spend goes on being counted, whatever new budgets there are meanwhile;
    these are exact once it answers.
    """
    scene = Scene()
    scene.make("acme")
    await scene.follower.round()
    scene.log.answers.clear()
    scene.make("globex")
    for number in range(8):
        scene.log.append(number, TENANTS[number % 2])
        await scene.follower.round()
    assert (scene.known("acme"), scene.known("globex")) == (2**0 + 2**2 + 2**4 + 2**6, None)
    scene.make("globex")
    scene.make("acme")
    await scene.follower.round()
    scene.make("globex")
    scene.make("acme")
    scene.log.answers.set()
    for _ in range(9):
        await scene.follower.round()
    assert (scene.known("acme"), scene.known("globex")) == (85, 170)


async def test_store_that_fails_late_is_asked_again() -> None:
    """The answer that a follower waited for beside its reading is an error."""
    scene = Scene()
    scene.make("acme")
    scene.log.answers.clear()
    await scene.follower.round()
    scene.log.away = True
    scene.log.answers.set()
    with pytest.raises(StoreUnavailableError):
        await scene.follower.round()
    scene.log.away = False
    await scene.follower.round()
    assert scene.known("acme") == 0


async def test_end_tells_what_it_cost_where_its_tenant_has_a_budget() -> None:
    """Of others nobody asks."""
    scene, told = Scene(), []
    scene.follower.on_end = lambda one: told.append((one.request_id, one.usd))
    scene.make("acme")
    await scene.follower.round()
    scene.log.append(3, "acme")
    scene.log.append(4, "globex")
    scene.log.append(5, "acme", cost_usd="soon")
    for _ in range(2):
        await scene.follower.round()
    assert sorted(told) == [("r3", 8), ("r4", 0), ("r5", 0)]


async def test_follower_tells_up_to_where_it_has_counted() -> None:
    """From its beginning on; what is read again for a new budget was counted already, and
    without a budget nothing is.
    """
    scene = Scene()
    scene.log.append(0, "acme")
    assert scene.follower.counted is None
    scene.make("acme")
    await scene.follower.round()
    assert scene.follower.counted == {0: 1, 1: 0}
    for number in (1, 2, 4):
        scene.log.append(number, "acme")
    await scene.follower.round()
    assert scene.follower.counted == {0: 3, 1: 1}
    scene.make("globex")
    await scene.follower.round()
    assert scene.follower.counted == {0: 3, 1: 1}
    for tenant in ("acme", "globex"):
        scene.make(tenant)
    await scene.follower.round()
    assert scene.follower.counted is None


async def test_ends_without_a_cost_and_unreadable_ones_free_what_was_reserved() -> None:
    """They are counted as skipped, or cost nothing; those of tenants without a budget are
    not even read, but free what a budget that is gone had reserved.
    """
    scene = Scene()
    scene.make("acme")
    await scene.follower.round()
    later = (NOW + timedelta(days=1)).isoformat()
    scene.log.append(0, "acme", cost_usd=None)
    scene.log.append(1, "acme", cost_usd="NaN")
    scene.log.append(2, "acme", completed_at=later)
    scene.log.append(3, "acme", completed_at="soon")
    scene.log.append(4, "initech", cost_usd="soon")
    scene.log.append(5, "acme")
    scene.log.append(7, "acme", completed_at="2026-11-27T12:00:00")
    scene.log.append(8, "acme", cost_usd="1e30")
    scene.log.append(9, "acme", completed_at="9999-12-31T01:00:00+00:00")
    scene.log.append(10, "acme", completed_at="0001-01-01T00:00:00+14:00")
    for garbage in (b"", b"[]", b"{}", b"\xff", None):
        scene.log.records[0].append(SimpleNamespace(**vars(end(6, "acme", 0, 100)) | {"value": garbage}))
    for _ in range(9):
        await scene.follower.round()
    assert scene.known("acme") == 2**5
    assert {f"r{number}" for number in range(11)} == set(scene.ended)


@pytest.mark.parametrize("others", [(), ("globex",)])
@pytest.mark.parametrize("back", [True, False])
async def test_end_read_while_its_budget_is_away_frees_what_was_reserved(
    others: tuple[str, ...], *, back: bool
) -> None:
    """Whether it comes back, when the store has the end already, and whoever else has a
    budget meanwhile.
    """
    scene = Scene()
    held = scene.held
    scene.follower.on_end = lambda one: held.end(*one, now_s=0.0)
    for tenant in ("acme", *others):
        scene.make(tenant)
    await scene.follower.round()
    held.take("r0", ("acme",), Decimal(3), serial=1, until_s=1000)
    scene.make("acme")
    await scene.follower.round()
    scene.log.append(0, "acme")
    for _ in range(3):
        await scene.follower.round()
    scene.log.recorded[0] = 1
    if back:
        scene.make("acme")
        await scene.follower.round()
    assert ("r0" in held, held.held("acme")) == (False, 0)


async def test_follower_without_budgets_reads_nothing_until_there_is_one_again() -> None:
    """What ended meanwhile is the store's to know; a request that still has something
    reserved is waited for.
    """
    scene = Scene()
    scene.make("acme")
    await scene.follower.round()
    scene.held.take("r0", ("acme",), Decimal(3), serial=1, until_s=1000)
    scene.make("acme")
    await scene.follower.round()
    assert scene.log.begun
    scene.held.release("r0")
    await scene.follower.round()
    assert (scene.log.begun, scene.known("acme")) == (False, None)
    scene.log.append(0, "acme")
    scene.log.append(1, "acme")
    scene.log.recorded = [1, 0]
    scene.make("acme")
    await scene.follower.round()
    scene.log.append(2, "acme")
    await scene.follower.round()
    assert scene.known("acme") == 2**0 + 2**1 + 2**2
