"""Exports: whoever makes one is told to the audit before anything is read."""

import asyncio
from pathlib import Path

from schemas.events.audit import AuditEntry
from services.analyzer.audit.domain.chain import exported
from services.analyzer.audit.table import StoredAuditTable
from services.cli.compliance.new_file import new_file
from services.cli.control.control import CONNECT_TIMEOUT_S, operator, show_json
from services.common.bus.producers.counting import CountingProducer
from services.common.clock import utc_now
from services.common.control.audit_entries import AuditWriter
from services.common.process.settings import CommonSettings
from services.common.store import Store

STORE_TIMEOUT_S = 120.0


def export(out: Path, *, as_json: bool) -> int:
    """Writes all rows of the audit to a new file.

    Raises:
        ConfigError: the file is there already, or cannot be written.
        BusUnavailableError: the export could not be audited; nothing was written.
    """
    rows = asyncio.run(_export(out))
    if as_json:
        show_json({"file": str(out), "rows": rows})
    else:
        print(f"{rows} rows in {out}; `python docs/concepts/audit_verify.py {out}` proves them")
    return 0


async def record_export(settings: CommonSettings, of: str, *, object_id: str = "", tenant: str = "") -> None:
    """Tells the audit who exports what: the audit, or a subject.

    Raises:
        BusUnavailableError: it is not told, or that is not known.
    """
    producer = CountingProducer(settings.kafka_url, "cli-export")
    try:
        await producer.start(CONNECT_TIMEOUT_S)
        entry = AuditEntry.create(
            occurred_at=utc_now(),
            actor=operator(),
            action=f"{of}.exported",
            object_kind=of,
            object_id=object_id,
            tenant=tenant,
        )
        await AuditWriter(producer.send, timeout_s=10.0).record(entry)
    finally:
        await producer.close()


async def _export(out: Path) -> int:
    settings, rows = CommonSettings.load(), 0
    with new_file(out) as file:
        await record_export(settings, "audit")
        async with Store(settings.clickhouse_url, name="tocsin-cli", timeout_s=STORE_TIMEOUT_S) as store:
            table = StoredAuditTable(store)
            for chain in await table.chains():
                async for page in table.rows(chain):
                    file.writelines(f"{exported(row)}\n".encode() for row in page)
                    rows += len(page)
    return rows
