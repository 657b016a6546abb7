"""Erasing a person over a real Kafka and the embedded store."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.control import PolicyChanged
from services.analyzer.audit.domain.chain import AuditRow
from services.analyzer.audit.domain.verification import verify
from services.analyzer.audit.table import AUDIT_ROWS
from services.common.control.reader import ControlReader, read_control_state
from services.common.control.state import ControlState
from services.console.privacy.receipts import is_about, public_key_of
from services.console.privacy.receipts import verify as verify_receipt
from services.console.privacy.stored.retention import Retention
from services.console.privacy.stored.rows import Rows
from tests.integration.console.conftest import StartConsole, bearer
from tests.integration.console.privacy.conftest import BEGAN, People
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


async def begin(client: httpx.AsyncClient, people: People) -> dict[str, Any]:
    """Asks for Jo's erasure."""
    asked = {"confirm": people.jo.name}
    begun = await client.delete(
        f"/api/privacy/subjects/{people.jo.name}", params=asked, headers=bearer(people.admin)
    )
    assert begun.status_code == 202, begun.text
    told: dict[str, Any] = begun.json()
    return told


async def erase(client: httpx.AsyncClient, people: People) -> dict[str, Any]:
    """Asks for Jo's erasure, and waits for its first round."""
    begun = await begin(client, people)
    return await finished(client, people, begun["id"]) | {"proof": begun["proof"]}


async def finished(client: httpx.AsyncClient, people: People, receipt_id: str) -> dict[str, Any]:
    """The receipt once the first round is done."""
    for _ in range(1800):
        receipt = await people.receipt(client, receipt_id)
        if receipt["rounds"]:
            return receipt
        await asyncio.sleep(0.1)
    raise AssertionError(receipt)


def counts(receipt: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """Found, erased, left by place."""
    return {one["place"]: (one["found"], one["erased"], one["left"]) for one in receipt["stores"]}


async def test_an_erased_person_is_found_nowhere_and_nobody_else_is_touched(
    start_console: StartConsole, people: People
) -> None:
    """No table, no file of the store and no entry has anything of them; the namesake of
    another tenant and the colleague have everything; the audit's chain holds.
    """
    client = await start_console(erasure_settle_s=0, clickhouse_url=people.platform.store_url)
    assert in_files(people.running.folder, [people.jo.said["prompt0"]]), "the search finds what is there"
    receipt = await erase(client, people)
    assert counts(receipt) == {
        "control state": (4, 4, 0),
        "topics by key": (0, 0, 0),
        "security's memory": (0, 0, 0),
        "neighbours in findings": (1, 1, 0),
        "findings": (2, 2, 0),
        "judgements of findings": (1, 1, 0),
        "feedback of others on their answers": (0, 0, 0),
        "feedback": (1, 1, 0),
        "breaches": (1, 1, 0),
        "alerts": (1, 1, 0),
        "retraining requests": (0, 0, 0),
        "recommendations and decisions on them": (2, 2, 0),
        "requests": (3, 3, 0),
        "dead letters": (1, 1, 0),
        "counts of users": (5, 5, 0),
        "audit": (4, 4, 0),
    }
    await assert_gone(people)
    await assert_gone_from_files(people)
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
    """Nothing of Jo of acme is in the store, and the audit's chain holds."""
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


async def assert_gone_from_files(people: People) -> None:
    """Nor in a file of the store, whether something reads it or not."""
    strings = [f"acme/{people.jo.name}", *people.jo.strings[1:]]
    give_up = time.monotonic() + 90  # parts that were merged into others are kept for a while
    while left := in_files(people.running.folder, strings):
        assert time.monotonic() < give_up, left
        await asyncio.sleep(1)


async def test_erasing_again_finds_nothing_and_an_unknown_user_gives_zeros(
    start_console: StartConsole, people: People
) -> None:
    """A second receipt of its own, of zeros, as one of somebody who never was."""
    client = await start_console(erasure_settle_s=0, clickhouse_url=people.platform.store_url)
    first = await erase(client, people)
    again = await erase(client, people)
    assert again["id"] != first["id"]
    people.jo.name = "never was"
    nobody = await erase(client, people)
    for receipt in (again, nobody):
        found = {place: one for place, one in counts(receipt).items() if place != "counts of users"}
        assert set(found.values()) == {(0, 0, 0)}, receipt


async def test_export_tells_all_of_one_person_and_nothing_of_others(
    start_console: StartConsole, people: People
) -> None:
    """What they said everywhere and their entries; no word of the namesake of another
    tenant, the colleague, or who administered them.
    """
    client = await start_console(clickhouse_url=people.platform.store_url)
    asked = f"/api/privacy/subjects/{people.jo.name}/export"
    answer = await client.get(asked, headers=bearer(people.admin))
    assert answer.status_code == 200
    told = answer.json()
    untold = {"letter", "near", "note"}
    missing = [
        where for where, said in people.jo.said.items() if said not in answer.text and where not in untold
    ]
    assert missing == []
    assert len(told["requests"]) == 3
    assert {one["kind"] for one in told["entries"]} == {"user", "key", "budget"}
    others = [*people.namesake.strings[1:], *people.colleague.strings, "admin000", "secret_hmac"]
    assert [one for one in others if one in answer.text] == []


async def test_texts_go_once_their_tenants_retention_is_over(people: People) -> None:
    """Of acme after a day, of some tables after more; of globex, which has no policy, what
    that of all says; rows and users stay.
    """
    reader = ControlReader(people.platform.kafka_url, "retention")
    hour = PolicyChanged(
        tenant="acme", retention_days=1, retention_by_table={"feedback": 9, "breaches": 2}, version=1
    )
    reader.state = ControlState(policies={"acme": hour, "*": PolicyChanged(retention_by_table={"alerts": 1})})
    now = [BEGAN + timedelta(days=1, hours=2)]
    retention = Retention(reader, Rows(people.store), lambda: now[0])
    assert await retention.remove_old() == 2 * 3 + 2 + 2 + 2 + 1
    assert await retention.remove_old() == 0
    dumped = await people.dump()
    gone = ("prompt0", "answer1", "named", "finding", "why", "near", "alert", "note")
    later = {"breach": 1, "comment": 8, "correction": 8}
    for person in (people.jo, people.colleague):
        assert [where for where in gone if person.said[where] in dumped] == []
        assert [where for where in later if person.said[where] not in dumped] == []
    for table, days in (("breach", 1), ("comment", 8)):
        now[0] = BEGAN + timedelta(days=days + 1, hours=2)
        assert await retention.remove_old() == 2
        dumped = await people.dump()
        assert [one.said[table] in dumped for one in (people.jo, people.colleague)] == [False, False]
    gone = ("prompt0", "answer1", "named", "finding", "why", "near", *later)
    assert [where for where in gone if people.namesake.said[where] not in dumped] == []
    assert len(await people.rows("inference_events", f"user = '{people.jo.pseudonym}'")) == 2
