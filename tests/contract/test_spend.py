"""What was spent, by a gateway's rights in the embedded store."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from schemas.control import BudgetChanged, Subject
from schemas.envelope import Envelope
from schemas.topics import COMPLETED
from services.analyzer.recorder.interfaces import StoreTables
from services.analyzer.recorder.rows import process_message
from services.analyzer.recorder.tables.inference_completed import INFERENCE_COMPLETED
from services.common.budgets.spend import SpendStore, spend_key_of
from services.common.bus.coordinates import LogPosition
from services.common.errors import StoreUnavailableError
from services.common.identity import pseudonym
from services.common.store import Store
from services.common.store.migrations import migrate
from services.console.read_models.budgets import BudgetSpend
from tests.support.analyzer.recording import EPOCH, completed
from tests.support.store import RunningStore

KEY = "a pseudonym key for tests"
TENANT = f"t-{uuid4().hex[:8]}"
JO = pseudonym(KEY, tenant=TENANT, user="jo")


def row(partition: int, offset: int, **changes: object) -> tuple[object, ...]:
    """A request of Jo's that cost a power of two."""
    given = {"tenant": TENANT, "user": JO, "cost_usd": Decimal(2**offset).scaleb(-12), "completed_at": EPOCH}
    event = completed(offset, **(given | changes))
    envelope = Envelope.create(
        type_=COMPLETED.name, source=TENANT, occurred_at=EPOCH, subject="x", tenant=TENANT, sequence=offset
    )
    position = LogPosition(topic=COMPLETED.name, partition=partition, offset=offset)
    return process_message(INFERENCE_COMPLETED, event.encode(), envelope.to_headers(), position)


def budget(kind: str, subject_id: str, **fields: object) -> BudgetChanged:
    """A budget of one of the tenant's subjects."""
    given = {
        "budget_id": "b",
        "tenant": TENANT,
        "subject": Subject(kind=kind, id=subject_id),  # type: ignore[arg-type]
        "period": "day",
        "limit_usd": Decimal(1),
        "created_at": EPOCH,
    }
    return BudgetChanged.model_validate(given | fields)


async def test_spent_of_every_kind_of_subject_is_exact_up_to_an_offset(store: RunningStore) -> None:
    """By key, user, tenant and model, by day and month; unknown prices cost nothing; a
    gateway may read, and not write.
    """
    migrate(store.url("admin"))
    writing, reading = Store(store.url("service")), Store(store.url("gateway"))
    rows = [
        row(0, 0),
        row(0, 1, key_id="key00002"),
        row(0, 2, user=""),
        row(0, 3, model="model-x"),
        row(0, 4, cost_usd=None),
        row(0, 5, completed_at=EPOCH + timedelta(days=1)),
        row(0, 6, tenant="somebody-else"),
        row(0, 7),
    ]
    await StoreTables(writing).insert(INFERENCE_COMPLETED.table, rows, token=TENANT)
    await StoreTables(writing).insert(INFERENCE_COMPLETED.table, [row(13, 9)], token=f"{TENANT}2")
    budgets = [
        budget("key", "key00001"),
        budget("user", f"{TENANT}/jo"),
        budget("tenant", TENANT),
        budget("model", "model-x"),
        budget("tenant", TENANT, period="month", time_zone="Asia/Kathmandu"),
        budget("user", f"{TENANT}/nobody"),
    ]
    meters = [spend_key_of(one, pseudonym_key=KEY) for one in budgets]
    spend = SpendStore(reading)

    async def sums(through: dict[int, int] | None) -> list[int]:
        found = await spend.spent(meters, EPOCH, through)
        return [int(found[one][0].usd.scaleb(12)) for one in meters]

    everything = 1 + 2 + 4 + 8 + 128 + 512
    whole_month = everything + 32 * (meters[4].period_at(EPOCH).has(EPOCH + timedelta(days=1)))
    assert await sums(None) == [everything - 2, everything - 4, everything, 8, whole_month, 0]
    assert await sums({0: 3}) == [13, 11, 15, 8, 15, 0]
    assert await sums({0: 0, 13: 9}) == [513, 513, 513, 0, 513, 0]
    assert await sums({}) == [0] * 6
    tomorrow = await spend.spent(meters[2:3], EPOCH, None)
    assert [int(one.usd.scaleb(12)) for one in tomorrow[meters[2]]] == [everything, 32]
    shown = BudgetSpend(spend, KEY, lambda: EPOCH)
    user, kathmandu = [
        one.model_copy(update={"budget_id": str(number), "limit_usd": limit})
        for number, one, limit in ((1, budgets[1], Decimal("0.000000001")), (4, budgets[4], Decimal(0)))
    ]
    told = await shown.read([user, kathmandu])
    assert [(one["spent_usd"], one["left_usd"], one["share"]) for one in told] == [
        ("0.000000000651", "0.000000000349", 0.651),
        (f"0.{whole_month:012}", "0", None),
    ]
    assert told[0]["renews_at"] == meters[1].period_at(EPOCH).end.isoformat()
    highest = await spend.highest_offsets()
    assert (highest[0] >= 7, highest[13] >= 9) == (True, True)
    with pytest.raises(StoreUnavailableError, match=r"privileges|readonly"):
        await StoreTables(reading).insert(INFERENCE_COMPLETED.table, rows, token="none")
    await writing.close()
    await reading.close()
