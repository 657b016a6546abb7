"""What analysts asked: one JSON line per statement, refused ones included, in files of
bounded size and number.
"""

import hashlib
import logging
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Any

import orjson

_KEPT_TEXT = 16_384


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One statement of an analyst.

    `statement` is cut at 16,384 characters, `statement_sha256` is of the whole; `error`
    is empty when it succeeded.
    """

    at: str
    user: str
    query_id: str
    statement_sha256: str
    statement: str
    duration_ms: float
    rows_read: int
    error: str

    @classmethod
    def of(
        cls, *, user: str, query_id: str, statement: bytes, duration_ms: float, rows_read: int, error: str
    ) -> "AuditEntry":
        """An entry stamped with the present time."""
        return cls(
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            user=user,
            query_id=query_id,
            statement_sha256=hashlib.sha256(statement).hexdigest(),
            statement=statement.decode("utf-8", "replace")[:_KEPT_TEXT],
            duration_ms=round(duration_ms, 3),
            rows_read=rows_read,
            error=error,
        )


class _PrivateFile(RotatingFileHandler):
    """Rotates by size; its files are readable by their owner only."""

    def _open(self) -> IO[Any]:  # type: ignore[override]
        return open(
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )


class AuditLog:
    """Appends entries to `<folder>/analyst.jsonl`, and keeps the newest files up to a
    total size.
    """

    def __init__(self, folder: Path, *, file_bytes: int = 16 << 20, files: int = 8) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / "analyst.jsonl"
        self._file = _PrivateFile(self.path, maxBytes=file_bytes, backupCount=files - 1, encoding="utf-8")

    def write(self, entry: AuditEntry) -> None:
        """Writes one line, at once."""
        line = orjson.dumps(asdict(entry)).decode()
        self._file.emit(logging.LogRecord("audit", logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
