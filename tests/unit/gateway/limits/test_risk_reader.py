"""Reading what was found of users, without a bus."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from schemas.events.security import UserRisk
from services.common.process import metrics
from services.gateway.limits.risk import RiskTable
from services.gateway.limits.risk_reader import RiskReader

NOW = datetime(2026, 11, 27, tzinfo=UTC)


class FakeTail:
    """A topic with an assessment of each of so many users."""

    def __init__(self, users: int) -> None:
        risks = [
            UserRisk(tenant="acme", user=f"u{number}", findings=1, assessed_at=NOW) for number in range(users)
        ]
        self.records: list[Any] = [
            SimpleNamespace(key=f"acme/{risk.user}".encode(), value=risk.encode(), partition=0, offset=0)
            for risk in risks
        ]

    async def start(self, *_: Any) -> None: ...

    async def read_to_end(self, **_: Any) -> AsyncIterator[list[Any]]:
        yield self.records


async def test_users_forgotten_for_want_of_room_are_exported() -> None:
    """Also when all are read again."""
    before = metrics.LIMITS_RISKS_FORGOTTEN._value.get()
    reader = RiskReader(FakeTail(7), RiskTable(3600.0, capacity=4))  # type: ignore[arg-type]
    await reader.start()
    await reader.start()
    assert len(reader.table) == 4
    assert metrics.LIMITS_RISKS_FORGOTTEN._value.get() - before == 3 + 7


async def test_assessment_at_a_time_without_an_offset_leaves_the_former_one() -> None:
    """Compared with this gateway's time, it would fail each of the user's requests."""
    tail = FakeTail(1)
    for at in ("2026-11-27T11:00:00", "2030-01-01T00:00:00.5"):
        value = f'{{"tenant":"acme","user":"u0","findings":9,"assessed_at":"{at}"}}'.encode()
        tail.records.append(SimpleNamespace(key=b"acme/u0", value=value, partition=0, offset=1))
    reader = RiskReader(tail, RiskTable(3600.0))  # type: ignore[arg-type]
    await reader.start()
    assert reader.table.findings_of("acme", "u0", NOW) == 1
