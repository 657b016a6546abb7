"""Views that have no rows, and remember in the answering store who asked for whose."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from services.common.errors import StoreUnavailableError
from services.console.domain.exporting.catalogue import EXPORTED
from tests.support.console.answering_store import AnsweringStore, Asked


@dataclass
class AnsweringViews:
    """What `ViewReader.text` says of a store without a row."""

    store: AnsweringStore

    async def text(
        self,
        sql: str,
        form: str,
        parameters: Mapping[str, str] | None = None,
        *,
        tenant: str = "",
        most_bytes: int = 0,
    ) -> bytes:
        """As the reader's, without a store."""
        del most_bytes
        if "system.columns" in sql:
            return _lines(
                [
                    {"table": view, "name": name, "type": kind, "comment": ""}
                    for view, of in EXPORTED.items()
                    for name, kind in (
                        (of.time, "Date" if of.is_daily else "DateTime64(3, 'UTC')"),
                        *((name, "String") for name in ("tenant", "user", *sorted(of.texts))),
                    )
                ]
            )
        self.store.asked.append(Asked(sql, {**(parameters or {}), "tenant": tenant or "*"}))
        if self.store.is_away:
            raise StoreUnavailableError("there is none here")
        if "max(place)" in sql:
            return _lines([{"n": 0, "last": []}])
        if sql.startswith("SELECT * FROM v_requests"):
            return _lines([{"tenant": tenant or "acme"}])
        if form == "ArrowStream":
            sink = pa.BufferOutputStream()
            pa.ipc.new_stream(sink, pa.schema([("tenant", pa.string())])).close()
            return bytes(sink.getvalue())
        return b""


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(orjson.dumps(row) for row in rows)
