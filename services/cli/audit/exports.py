"""`tocsin audit export`."""

import asyncio
import getpass
import os
from pathlib import Path

from schemas.events.audit import Actor, AuditEntry
from services.analyzer.audit.domain.chain import exported
from services.analyzer.audit.table import StoredAuditTable
from services.cli.audit.new_file import new_file
from services.cli.control.control import CONNECT_TIMEOUT_S, show_json
from services.common.bus.producers.counting import CountingProducer
from services.common.clock import utc_now
from services.common.control.audit_entries import AuditWriter
from services.common.process.settings import CommonSettings
from services.common.store import Store

_STORE_TIMEOUT_S = 120.0


def export(out: Path, *, as_json: bool) -> int:
    """Writes all rows to a new file.

    Raises:
        ConfigError: the file is there already, or cannot be written.
        BusUnavailableError: the export could not be audited; nothing was written.
    """
    with new_file(out) as part:
        rows = asyncio.run(_export(part))
    if as_json:
        show_json({"file": str(out), "rows": rows})
    else:
        print(f"{rows} rows in {out}; `python docs/concepts/audit_verify.py {out}` proves them")
    return 0


async def _export(part: Path) -> int:
    settings = CommonSettings.load()
    await _record(settings)
    store = Store(settings.clickhouse_url, name="tocsin-cli", timeout_s=_STORE_TIMEOUT_S)
    table, rows = StoredAuditTable(store), 0
    try:
        with os.fdopen(
            os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            for chain in await table.chains():
                async for page in table.rows(chain):
                    file.writelines(f"{exported(row)}\n" for row in page)
                    rows += len(page)
            file.flush()
            os.fsync(file.fileno())
    finally:
        await store.close()
    return rows


async def _record(settings: CommonSettings) -> None:
    """Tells the audit who exports it, before anything is read."""
    producer = CountingProducer(settings.kafka_url, "cli-audit")
    try:
        await producer.start(CONNECT_TIMEOUT_S)
        entry = AuditEntry.create(
            occurred_at=utc_now(),
            actor=Actor(kind="operator", id=getpass.getuser()),
            action="audit.exported",
            object_kind="audit",
        )
        await AuditWriter(producer.send, timeout_s=10.0).record(entry)
    finally:
        await producer.close()
