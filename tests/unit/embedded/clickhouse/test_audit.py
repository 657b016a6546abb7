"""The analysts' audit log, errors and sessions: small pure parts."""

import hashlib
import json
from pathlib import Path

import pytest

from services.embedded.clickhouse.audit import AuditEntry, AuditLog
from services.embedded.clickhouse.engine.sessions import session_timeout_s
from services.embedded.clickhouse.errors import StoreError


def _entry(statement: bytes) -> AuditEntry:
    return AuditEntry.of(
        user="analyst", query_id="q", statement=statement, duration_ms=1.23456, rows_read=7, error=""
    )


def test_audit_log_writes_a_line_with_the_statements_hash(tmp_path: Path) -> None:
    """One JSON line with the whole statement's hash; the file is its owner's only."""
    log = AuditLog(tmp_path / "audit")
    log.write(_entry("SELECT 'é\n'".encode()))
    log.close()
    line = json.loads(log.path.read_text())
    assert line["statement"] == "SELECT 'é\n'"
    assert line["statement_sha256"] == hashlib.sha256("SELECT 'é\n'".encode()).hexdigest()
    assert (line["user"], line["rows_read"], line["duration_ms"]) == ("analyst", 7, 1.235)
    assert line["query_id"] == "q"
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_audit_log_is_bounded(tmp_path: Path) -> None:
    """It rotates, keeps the newest lines, and cuts long statements."""
    log = AuditLog(tmp_path, file_bytes=40_000, files=3)
    for number in range(50):
        log.write(_entry(b"SELECT %d " % number + b"x" * 100_000))
    log.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert all(path.stat().st_size <= 60_000 and path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert "SELECT 49 " in log.path.read_text()


@pytest.mark.parametrize(
    ("raised", "code", "name", "message"),
    [
        (
            "Code: 60. DB::Exception: Unknown table x. (UNKNOWN_TABLE)",
            60,
            "UNKNOWN_TABLE",
            "Unknown table x.",
        ),
        (
            (
                "Streaming query failed: Code: 395. DB::Exception: boom: while (A) b. "
                "(FUNCTION_THROW_IF_VALUE_IS_NON_ZERO)"
            ),
            395,
            "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
            "boom: while (A) b.",
        ),
        (
            (
                "Code: 164. DB::Exception: Code: 164. DB::Exception: No. (READONLY) (version 26.9.2.1). "
                "(READONLY)"
            ),
            164,
            "READONLY",
            "No.",
        ),
        ("something else", 1002, "UNKNOWN_EXCEPTION", "something else"),
    ],
)
def test_of_engine_finds_code_name_and_message(raised: str, code: int, name: str, message: str) -> None:
    """However chDB wraps it, the client gets ClickHouse's own words once."""
    error = StoreError.of_engine(RuntimeError(raised))
    assert (error.code, error.name, error.message) == (code, name, message)


@pytest.mark.parametrize("value", ["x", "-1", "3601", "nan", "inf"])
def test_session_timeout_that_is_no_time_is_refused(value: str) -> None:
    """Up to an hour, as on a server."""
    with pytest.raises(StoreError):
        session_timeout_s(value)


def test_session_timeout_has_a_default() -> None:
    """A minute."""
    assert session_timeout_s(None) == 60
    assert session_timeout_s("0.5") == 0.5
