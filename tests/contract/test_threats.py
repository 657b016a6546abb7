"""Findings in the real store, read as people and forecasts read them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from schemas.events.security import RiskLevel, SecurityFinding
from schemas.inference import LogPosition
from schemas.topics import FINDINGS
from services.analyzer.recorder.interfaces import StoreTables
from services.analyzer.recorder.rows import Recorded
from services.analyzer.recorder.tables.security_findings import SECURITY_FINDINGS
from services.common.store import Store
from services.console.read_models.threats import Threats
from services.console.security.findings import FindingQuery, Findings
from tests.support.analyzer.audit_fakes import envelope
from tests.support.analyzer.recording import fresh_database
from tests.support.store import RunningStore

_NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)


@pytest.fixture
async def door(store: RunningStore) -> AsyncIterator[Store]:
    """A database of the test's own."""
    made = Store(fresh_database(store))
    yield made
    await made.close()


def _finding(number: int, hours_ago: float, **changes: object) -> SecurityFinding:
    values: dict[str, object] = {
        "finding_id": f"finding-{number}",
        "found_at": _NOW - timedelta(hours=hours_ago),
        "tenant": "acme",
        "user": f"u_{number % 3:032d}",
        "request_id": f"request-{number}",
        "place": "prompt",
        "depth": "full",
        "category": "jailbreak",
        "level": RiskLevel.HIGH,
        "score": 13.0,
        "action": "flagged",
        "explanation": ("why",),
    }
    return SecurityFinding.model_validate(values | changes)


async def _insert(door: Store, found: list[SecurityFinding]) -> None:
    rows = [
        SECURITY_FINDINGS.row(
            Recorded(one, envelope(place), LogPosition(topic=FINDINGS.name, partition=0, offset=place))
        )
        for place, one in enumerate(found)
    ]
    await StoreTables(door).insert(SECURITY_FINDINGS.table, rows, token="findings")


async def test_findings_are_read_newest_first_by_tenant_and_user(door: Store) -> None:
    """With what was found, and why."""
    await _insert(
        door,
        [*[_finding(number, number + 0.1) for number in range(9)], _finding(9, 0, tenant="other")],
    )
    findings = Findings(door, lambda: _NOW, "")
    found = (await findings.page(FindingQuery({"tenant": "acme"}, limit=4)))["data"]
    assert [one["finding_id"] for one in found] == [f"finding-{number}" for number in range(4)]
    assert found[0]["explanation"] == ["why"]
    of_user = await findings.page(FindingQuery(user=f"u_{1:032d}", limit=9))
    assert [one["finding_id"] for one in of_user["data"]] == ["finding-1", "finding-4", "finding-7"]
    assert len((await findings.page(FindingQuery(limit=99)))["data"]) == 10


async def test_turning_without_findings_says_so(door: Store) -> None:
    """A new installation."""
    turning = await Threats(door).turning("", _NOW)
    assert (turning.quality, turning.users, turning.examples) == (None, (), 0)


async def test_turning_learns_from_the_store_who_turns_critical(door: Store) -> None:
    """Those whose scores rise turned critical each time: who does so now comes first."""
    found = []
    for user in range(40):
        climbs = user % 2 == 0
        for week in range(6):
            for step in range(5):
                score = 4.0 + 3.5 * step if climbs else 4.0
                level = ("low", "medium", "medium", "high", "high")[step] if climbs else "low"
                hours = 24 * 7 * (week + 1) - 8 * step - user % 7
                found.append(_finding(len(found), hours, user=f"u_{user}", score=score, level=level))
            if climbs:
                hours = 24 * 7 * (week + 1) - 50 - user % 7
                found.append(_finding(len(found), hours, user=f"u_{user}", score=24.0, level="critical"))
    found += [_finding(9000 + step, 10 - step, user="u_climber", score=4 + 4 * step) for step in range(4)]
    found += [_finding(9100 + step, 10 - step, user="u_calm", score=4.0, level="low") for step in range(4)]
    await _insert(door, found)
    turning = await Threats(door).turning("acme", _NOW)
    assert turning.quality is not None
    assert turning.quality.skill > 0.2
    chances = {user: chance for _, user, chance in turning.users}
    assert chances["u_climber"] > 3 * chances["u_calm"]
    assert turning.users[0][1] == "u_climber" or turning.users[0][2] > 0.3
