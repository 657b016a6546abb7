"""A platform that knows a person well: Jo of acme, and another Jo of globex."""

import asyncio
import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from schemas.control import BudgetChanged, Scope, Subject
from schemas.envelope import Envelope
from schemas.events.audit import Actor, AuditEntry
from schemas.topics import AUDIT
from services.analyzer.audit.domain.chain import GENESIS, AuditRow, Head, link
from services.analyzer.audit.table import StoredAuditTable
from services.common.bus.coordinates import TopicPartition
from services.common.control import changes
from services.common.identity import pseudonym, pseudonym_of_named
from services.common.store import Store
from tests.integration.console.conftest import READ, Platform, bearer
from tests.support.analyzer.recording import fresh_database
from tests.support.control import control_writer, make_key
from tests.support.store import RunningStore

PSEUDONYM_KEY = "a pseudonym key for tests"
BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)


@dataclass(frozen=True)
class _Place:
    topic: str
    partition: int
    offset: int


@dataclass
class Person:
    """Somebody with a name that is found nowhere else, and what they said."""

    tenant: str
    name: str
    said: dict[str, str] = field(default_factory=dict)
    key_id: str = ""
    key: str = ""

    @property
    def pseudonym(self) -> str:
        """As a caller."""
        return pseudonym(PSEUDONYM_KEY, tenant=self.tenant, user=self.name)

    @property
    def named(self) -> str:
        """As whom a caller named."""
        return pseudonym_of_named(PSEUDONYM_KEY, tenant=self.tenant, user=self.name)

    def says(self, where: str) -> str:
        """A text of theirs, remembered."""
        self.said[where] = f"{where}-{secrets.token_urlsafe(18)}"
        return self.said[where]

    @property
    def strings(self) -> list[str]:
        """All that must be found nowhere."""
        return [self.name, self.pseudonym, self.named, self.key_id, *self.said.values()]


@dataclass
class People:
    """Jo who is to be erased, the other tenant's Jo, and a colleague."""

    platform: Platform
    running: RunningStore
    store: Store
    jo: Person
    namesake: Person
    colleague: Person
    admin: str = ""

    async def receipt(self, client: httpx.AsyncClient, receipt_id: str) -> dict[str, Any]:
        """A receipt, however long it takes to be told."""
        for _ in range(300):
            try:
                answer = await client.get(f"/api/privacy/receipts/{receipt_id}", headers=bearer(self.admin))
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 200:
                found: dict[str, Any] = answer.json()
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(answer.text)

    async def rows(self, table: str, where: str = "1") -> list[dict[str, Any]]:
        """Rows of a table."""
        return await self.store.query(f"SELECT * FROM {table} WHERE {where}")

    async def dump(self) -> str:
        """All that analysts could read of what may be personal."""
        tables = [row["name"] for row in await self.store.query("SHOW TABLES")]
        found = [
            await self.store.query(f"SELECT * FROM {one}")
            for one in tables
            if not one.startswith("inference_per")
        ]
        return json.dumps(found, default=str)


async def plant(people: People) -> None:
    """What each of them left everywhere."""
    for number, person in enumerate((people.jo, people.namesake, people.colleague)):
        await _plant(people.store, person, number)
    await _plant_audit(people)


async def _insert(store: Store, table: str, *rows: Mapping[str, Any]) -> None:
    lines = " ".join(json.dumps({name: _plain(value) for name, value in row.items()}) for row in rows)
    await store.command(f"INSERT INTO {table} FORMAT JSONEachRow {lines}")


def _plain(value: Any) -> Any:
    return value.strftime("%Y-%m-%d %H:%M:%S.000") if isinstance(value, datetime) else value


def request_of(person: Person, number: int, **more: Any) -> dict[str, Any]:
    """A row of a request."""
    at = BEGAN + timedelta(minutes=number % 100)
    return {
        "requested_at": at,
        "completed_at": at + timedelta(seconds=1),
        "tenant": person.tenant,
        "model": "m",
        "request_id": f"r-{person.tenant}-{person.name[:4]}-{number}",
        "user": person.pseudonym,
        "key_id": person.key_id,
        "outcome": "completed",
        "prompt_tokens": 3,
        "cost_usd": "0.000001",
        "topic": "inference.completed.v1",
        "partition": 0,
        "offset": number,
    } | more


async def _plant(store: Store, person: Person, number: int) -> None:
    base, says = number * 100, person.says
    rows = [
        request_of(person, base + one, prompt_text=says(f"prompt{one}"), response_text=says(f"answer{one}"))
        for one in range(2)
    ]
    rows.append(request_of(person, base + 2, user=person.named, key_id="shared00", prompt_text=says("named")))
    for row in rows:
        await _insert(store, "inference_events", row)
    log = {"topic": "t", "partition": 0, "offset": base, "tenant": person.tenant, "user": person.pseudonym}
    of = log | {"request_id": rows[0]["request_id"], "model": "m", "key_id": person.key_id}
    said = {"comment": says("comment"), "correction": says("correction")}
    await _insert(store, "feedback", of | said | {"submitted_at": BEGAN, "rating": -1})
    near = {"reference": rows[1]["request_id"], "masked_text": says("near")}
    said = {"masked_text": says("finding"), "explanation": [says("why")], "neighbours": json.dumps([near])}
    of |= {"found_at": BEGAN, "category": "jailbreak", "level": "high"}
    await _insert(store, "security_findings", of | said)
    await _insert(store, "security_findings", of | {"user": "", "offset": base + 1, "neighbours": "[]"})
    breach = {"detected_at": BEGAN, "metric": "cost", "summary": says("breach")}
    await _insert(store, "kpi_breaches", log | breach)
    del log["user"]
    judged = {"given_at": BEGAN, "finding_id": "f", "verdict": "true_alarm", "given_by": person.pseudonym}
    await _insert(store, "finding_feedback", log | judged)
    decided = {"changed_at": BEGAN, "change": "dismissed", "changed_by": person.pseudonym}
    await _insert(store, "recommendation_changes", log | decided | {"reason": says("reason")})
    told = {"subject": {"key_id": person.key_id}, "title": says("title"), "why": says("reasons")}
    await _insert(store, "recommendation_changes", log | {"changed_at": BEGAN, "change": "raised"} | told)
    labels = {"user": person.pseudonym, "rule": "r"}
    alert = {"changed_at": BEGAN, "rule": "r", "labels": labels, "summary": says("alert")}
    await _insert(store, "alert_changes", log | alert | {"annotations": {"text": says("note")}})
    event = {"tenant": person.tenant, "user": person.pseudonym, "prompt_text": says("letter")}
    letter = {
        "failed_at": BEGAN,
        "origin_topic": "inference.completed.v1",
        "key": "k",
        "consumer": "recorder",
        "value": base64.b64encode(json.dumps(event).encode()).decode(),
        "error": "bad",
    }
    await _insert(store, "dead_letters", log | letter)


async def _plant_audit(people: People) -> None:
    rows: list[AuditRow] = []
    head = Head(-1, GENESIS, -1)
    for number, entry in enumerate(_entries(people)):
        envelope = Envelope.create(
            type_="t", source="s", occurred_at=BEGAN, subject="x", tenant=entry.tenant, sequence=number
        )
        rows.append(link(head, entry, envelope, _Place(AUDIT.name, 0, number)))
        head = rows[-1].head
    await StoredAuditTable(people.store).insert(rows, token=secrets.token_hex(8))


def _entries(people: People) -> list[AuditEntry]:
    found = []
    for person in (people.jo, people.namesake, people.colleague):
        admin = Actor(kind="key", id="admin000", address="10.0.0.0/24")
        own = Actor(kind="key", id=person.key_id, address="10.9.8.0/24")
        named = Actor(kind="user", id=person.named)
        entry = {"kind": "user", "tenant": person.tenant, "user": person.name, "name": person.says("plain")}
        of = {"occurred_at": BEGAN, "tenant": person.tenant}
        user, costs, request = ({"object_kind": one} for one in ("user", "costs", "request"))
        who = f"{person.tenant}/{person.name}"
        asked = {"asked": {"user": person.name}}
        found += [
            AuditEntry.create(actor=admin, action="user.created", object_id=who, after=entry, **user, **of),
            AuditEntry.create(actor=own, action="costs.read", after={"asked": {"days": "1"}}, **costs, **of),
            AuditEntry.create(actor=admin, action="costs.read", after=asked, **costs, **of),
            AuditEntry.create(actor=named, action="request.blocked", reason="jailbreak", **request, **of),
        ]
    return found


@pytest.fixture
async def people(platform: Platform, store: RunningStore) -> Any:
    """Everybody, with keys, budgets and rows everywhere in a store of their own."""
    url, platform = platform.kafka_url, replace(platform, store_url=fresh_database(store))
    name = f"jo-{secrets.token_urlsafe(9)}"
    found = People(
        platform,
        store,
        Store(platform.store_url),
        Person("acme", name),
        Person("globex", name),
        Person("acme", f"kim-{secrets.token_urlsafe(9)}"),
    )
    for person in (found.jo, found.namesake, found.colleague):
        person.key, record = await make_key(url, tenant=person.tenant, user=person.name)
        person.key_id = record.key_id
        for kind, entry_id in (("user", f"{person.tenant}/{person.name}"), ("key", person.key_id)):
            budget = BudgetChanged(
                budget_id=f"b-{secrets.token_hex(4)}",
                tenant=person.tenant,
                subject=Subject(kind=kind, id=entry_id),  # type: ignore[arg-type]
                period="day",
                limit_usd="1",  # type: ignore[arg-type]
                created_at=BEGAN,
            )
            await control_writer(url).apply(changes.create(budget))
    found.admin, _ = await make_key(url, scopes=(*READ, Scope.ADMIN))
    await plant(found)
    yield found
    await found.store.close()


PLACE = TopicPartition(AUDIT.name, 0)
