"""The key table: what the control topic says, whoever wrote it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from schemas.control import KeyChanged, Scope
from services.common import metrics
from services.common.bus import Record
from services.common.health import HealthState
from services.common.identity import create_key
from services.gateway.http.problems import ProblemError
from services.gateway.identity.key_table import KeyTable
from tests.support.records import record

PEPPER = "p" * 16
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@dataclass
class FakeTail:
    """Hands out what the control topic holds, one record a poll."""

    records: list[Record] = field(default_factory=list)
    read: int = 0

    async def start(self, *_: object) -> None:
        """Nothing to connect to."""

    async def read_to_end(self) -> AsyncIterator[list[Record]]:
        while self.read < len(self.records):
            yield await self.poll()

    async def poll(self) -> list[Record]:
        self.read += 1
        return self.records[self.read - 1 : self.read]


def made_key(**more: object) -> tuple[str, KeyChanged]:
    """A key in clear and its record."""
    return create_key(pepper=PEPPER, name="n", tenant="acme", now=NOW, **more)  # type: ignore[arg-type]


def table_of(*values: tuple[str, bytes | None]) -> KeyTable:
    """A table that has read these records."""
    tail = FakeTail([record(value, key=key.encode(), offset=at) for at, (key, value) in enumerate(values)])
    table = KeyTable(tail, PEPPER, HealthState())  # type: ignore[arg-type]
    asyncio.run(table.start())
    return table


def refused(table: KeyTable, clear: str, scope: Scope = Scope.INFER, *, now: datetime = NOW) -> int:
    """The status with which a key is refused; 0 where it is good."""
    try:
        table.authenticate(f"Bearer {clear}", scope, now=now)
    except ProblemError as error:
        return error.problem.status
    return 0


def test_key_of_the_topic_is_good_for_its_scopes_until_it_ends() -> None:
    """Scope, expiry and revocation each refuse."""
    clear, key = made_key(expires_at=NOW + timedelta(hours=1))
    table = table_of((key.key_id, key.encode()))
    assert refused(table, clear) == 0
    assert refused(table, clear, Scope.ADMIN) == 403
    assert refused(table, clear, now=NOW + timedelta(hours=1)) == 401
    revoked = key.model_copy(update={"revoked_at": NOW})
    assert refused(table_of((key.key_id, key.encode()), (key.key_id, revoked.encode())), clear) == 401
    assert refused(table_of((key.key_id, key.encode()), (key.key_id, None)), clear) == 401


@pytest.mark.parametrize(
    "value", [b'{"kind":"tenant","tenant":"acme"}', b'{"kind":"key"}', b"\xff", b'{"kind":7}']
)
def test_record_of_a_newer_version_is_counted_and_skipped(value: bytes) -> None:
    """A rolling upgrade writes other kinds onto the control topic: the keys around them
    are read.
    """
    clear, key = made_key()
    counts = [
        metrics.BUS_SKIPPED.labels("control.changes.v1", why)._value for why in ("unknown_kind", "unreadable")
    ]
    before = sum(one.get() for one in counts)
    table = table_of(("tenant:acme", value), (key.key_id, key.encode()), ("x", value))
    assert refused(table, clear) == 0
    assert sum(one.get() for one in counts) == before + 2


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic x", "Bearer tsn_x", "Bearer \x00"])
def test_malformed_authorization_is_401(header: str | None) -> None:
    """Whatever is sent instead of a key."""
    with pytest.raises(ProblemError) as caught:
        table_of().authenticate(header, Scope.INFER, now=NOW)
    assert caught.value.problem.status == 401


def test_nobody_is_let_in_before_the_keys_are_read() -> None:
    """503, so that a client tries again."""
    clear, _ = made_key()
    table = KeyTable(FakeTail(), PEPPER, HealthState())  # type: ignore[arg-type]
    assert refused(table, clear) == 503
