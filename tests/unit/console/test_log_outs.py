"""Log-outs when Kafka does not take them, and what others may write to their topic."""

from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from schemas.topics import SESSIONS
from services.common.bus import Outgoing
from services.common.errors import BusUnavailableError
from services.console.identity.log_outs import LogOuts
from services.console.identity.sessions import EndedSessions, Session

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
_BEGAN = int(NOW.timestamp()) - 60
SESSION = Session("1" * 32, "abcd1234", _BEGAN, _BEGAN + 3600)


def _log_outs(send: Any) -> LogOuts:
    return LogOuts("nowhere:1", "console", send, lambda: NOW, EndedSessions(3600))


def _record(value: bytes | None) -> Any:
    return ConsumerRecord(SESSIONS.name, 0, 0, 0, 0, None, value, None, 0, 0, ())


async def test_log_out_that_kafka_does_not_take_leaves_the_session_good() -> None:
    """So that its owner can try again; saying that it is over would be untrue elsewhere."""

    async def send(record: Outgoing) -> None:
        raise BusUnavailableError("away")

    log_outs = _log_outs(send)
    with pytest.raises(BusUnavailableError):
        await log_outs.end(SESSION, tenant="acme")
    assert not log_outs.has(SESSION)


async def test_log_out_is_told_without_the_sessions_id_and_known_elsewhere() -> None:
    """What one console writes ends the session at another."""
    sent: list[Outgoing] = []

    async def send(record: Outgoing) -> None:
        sent.append(record)

    here, there = _log_outs(send), _log_outs(send)
    await here.end(SESSION, tenant="acme")
    value = sent[0].payload()
    assert value is not None
    assert SESSION.session_id.encode() not in value
    there._take([_record(b"{}"), _record(None), _record(b"\xff"), _record(value)])
    assert (here.has(SESSION), there.has(SESSION)) == (True, True)
