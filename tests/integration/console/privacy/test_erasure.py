"""Erasing a person over a real Kafka and the embedded store."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.analyzer.audit.domain.chain import AuditRow
from services.analyzer.audit.domain.verification import verify
from services.analyzer.audit.table import AUDIT_ROWS
from services.common.control.reader import read_control_state
from services.console.privacy.receipts import is_about, public_key_of
from services.console.privacy.receipts import verify as verify_receipt
from tests.integration.console.conftest import StartConsole, bearer
from tests.integration.console.privacy.conftest import People
from tests.support.control import PEPPER

pytestmark = pytest.mark.timeout(300)


def in_files(folder: Path, strings: list[str]) -> list[tuple[str, str]]:
    """Which strings which files hold."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except OSError:
            continue
        found += [(path.name, one) for one in strings if one.encode() in content]
    return found


async def erase(client: httpx.AsyncClient, people: People, key: str = "") -> dict[str, Any]:
    """Asks for Jo's erasure, and waits for its first round."""
    asked = {"confirm": people.jo.name}
    begun = await client.delete(
        f"/api/privacy/subjects/{people.jo.name}", params=asked, headers=bearer(key or people.admin)
    )
    assert begun.status_code == 202, begun.text
    receipt = await finished(client, people, begun.json()["id"])
    return receipt | {"proof": begun.json()["proof"]}


async def finished(client: httpx.AsyncClient, people: People, receipt_id: str) -> dict[str, Any]:
    """The receipt once the first round is done."""
    for _ in range(1200):
        answer = await client.get(f"/api/privacy/receipts/{receipt_id}", headers=bearer(people.admin))
        assert answer.status_code == 200, answer.text
        if answer.json()["rounds"]:
            found: dict[str, Any] = answer.json()
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(answer.text)


def counts(receipt: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """Found, erased, left by place."""
    return {one["place"]: (one["found"], one["erased"], one["left"]) for one in receipt["stores"]}


async def test_an_erased_person_is_found_nowhere_and_nobody_else_is_touched(
    start_console: StartConsole, people: People
) -> None:
    """No table, no file of the store and no entry has anything of them; the namesake of
    another tenant and the colleague have everything; the audit's chain holds.
    """
    client = await start_console(erasure_settle_s=0)
    assert in_files(people.running.folder, [people.jo.said["prompt0"]]), "the search finds what is there"
    receipt = await erase(client, people)
    assert counts(receipt) == {
        "control state": (4, 4, 0),
        "topics by key": (0, 0, 0),
        "neighbours in findings": (1, 1, 0),
        "findings": (2, 2, 0),
        "feedback of others on their answers": (0, 0, 0),
        "feedback": (1, 1, 0),
        "breaches": (1, 1, 0),
        "alerts": (1, 1, 0),
        "retraining requests": (0, 0, 0),
        "requests": (3, 3, 0),
        "dead letters": (1, 1, 0),
        "counts of users": (4, 4, 0),
        "audit": (4, 4, 0),
    }
    await assert_gone(people)
    dumped = await people.dump()
    for other in (people.namesake, people.colleague):
        missing = [where for where, said in other.said.items() if said not in dumped and where != "letter"]
        assert missing == []
    state = await read_control_state(people.platform.kafka_url)
    assert people.namesake.key_id in state.keys
    assert people.jo.name not in str([one for one in state.users if one.startswith("acme/")])
    proof = receipt.pop("proof")
    assert verify_receipt(receipt, public_key_of(PEPPER)) == ""
    assert is_about(receipt, people.jo.name, proof)
    assert not is_about(receipt, people.colleague.name, proof)
    assert people.jo.name not in str(receipt)


async def assert_gone(people: People) -> None:
    """Nothing of Jo of acme is in the store or its files, and the audit's chain holds."""
    dumped = await people.dump()
    jo, names = people.jo, f"acme/{people.jo.name}"
    strings = [names, *jo.strings[1:]]
    assert [one for one in strings if one in dumped] == []
    of_acme = [await people.rows(one, "tenant = 'acme'") for one in ("audit_log", "inference_events")]
    assert jo.name not in str(of_acme)
    state = await read_control_state(people.platform.kafka_url)
    assert jo.key_id not in state.keys
    assert names not in state.users
    found = await people.store.query("SELECT * FROM audit_log FINAL ORDER BY position")
    rows = [AuditRow(**{name: row[name] for name in AUDIT_ROWS.table.columns}) for row in found]
    assert rows
    assert verify(rows).first_break is None
    give_up = time.monotonic() + 90  # parts that were merged into others are kept for a while
    while left := in_files(people.running.folder, strings):
        assert time.monotonic() < give_up, left
        await asyncio.sleep(1)
