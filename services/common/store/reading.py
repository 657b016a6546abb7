"""Reading views in somebody's name, over ClickHouse's HTTP interface.

The connection's own user may do much; each statement here gives up all of it (`role`)
but to read views: every row, or one tenant's, which the engine's row policies hold to.
So what a wrong condition in a statement would show is nobody else's.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import orjson

from services.common.errors import StoreUnavailableError, TocsinError
from services.common.store.client import failure_of
from services.common.store.tenant_views import READER, TENANT_PARAMETER, TENANT_READER

_TOO_LARGE = frozenset({158, 241, 396})
"""ClickHouse's numbers for too many rows read, memory, and rows or bytes of a result."""
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\b": "\\b"})
_QUOTED = str.maketrans({"\\": "\\\\", "'": "\\'"})
_PORTS = {"http": 8123, "https": 8443}
_PLAIN = {
    "date_time_output_format": "iso",
    "output_format_json_quote_decimals": "1",
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_escape_forward_slashes": "0",
    "format_csv_null_representation": "",
}


class ResultTooLargeError(TocsinError):
    """A result, or the memory that it takes, is larger than was allowed."""


@dataclass
class ViewReader:
    """Reads views of one database. `url` is http[s]://user:password@host:port/database.

    At most `connections` statements are under way, the others wait; one that takes
    longer than `timeout_s` is given up, and ends in the store too.
    """

    url: str = field(repr=False)
    name: str = "tocsin"
    timeout_s: float = 30.0
    connections: int = 8
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.connections)

    async def rows(
        self,
        sql: str,
        parameters: Mapping[str, str] | None = None,
        *,
        tenant: str = "",
        most_bytes: int = 16 << 20,
    ) -> list[dict[str, Any]]:
        """A query's rows as JSON has them: times in ISO 8601, decimals as text.

        Raises:
            StoreUnavailableError: not now.
            StoreRejectedError: the statement is wrong.
            ResultTooLargeError: there is more than `most_bytes`.
        """
        text = await self.text(sql, "JSONEachRow", parameters, tenant=tenant, most_bytes=most_bytes)
        return [orjson.loads(line) for line in text.splitlines()]

    async def text(
        self,
        sql: str,
        form: str,
        parameters: Mapping[str, str] | None = None,
        *,
        tenant: str = "",
        most_bytes: int = 16 << 20,
    ) -> bytes:
        """A query's result in a format of ClickHouse's, of the rows that the tenant may
        see; of all where that is empty.

        `{name:Type}` in the statement takes its value from `parameters`, as text.

        Raises:
            StoreUnavailableError: not now.
            StoreRejectedError: the statement is wrong.
            ResultTooLargeError: there is more than `most_bytes`.
        """
        parts = urlsplit(self.url)
        asked = {
            "database": parts.path.strip("/"),
            "default_format": form,
            "role": TENANT_READER if tenant else READER,
            **({TENANT_PARAMETER: f"'{tenant.translate(_QUOTED)}'"} if tenant else {}),
            # The whole result is there, or an error with its status.
            "wait_end_of_query": "1",
            "max_execution_time": f"{self.timeout_s:g}",
            **_PLAIN,
            **{f"param_{name}": value.translate(_ESCAPED) for name, value in (parameters or {}).items()},
        }
        try:
            async with (
                asyncio.timeout(self.timeout_s),
                self._slots,
                self._connected().post(
                    f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS[parts.scheme]}/",
                    params=asked,
                    data=sql.encode(),
                ) as answer,
            ):
                found = bytearray()
                async for piece in answer.content.iter_any():
                    found += piece
                    if len(found) > most_bytes:
                        raise ResultTooLargeError(f"there is more than {most_bytes} bytes")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise StoreUnavailableError(
                f"ClickHouse at {parts.hostname} did not answer within {self.timeout_s:g} s: {error!r}"
            ) from error
        if answer.status == 200:
            return bytes(found)
        code, said = int(answer.headers.get("X-ClickHouse-Exception-Code", 0)), found.decode(errors="replace")
        if code in _TOO_LARGE:
            raise ResultTooLargeError(said)
        raise failure_of(code or None, f"ClickHouse at {parts.hostname}: {said}")

    async def close(self) -> None:
        """Disconnects."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            parts = urlsplit(self.url)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self.connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "X-ClickHouse-User": unquote(parts.username or ""),
                    "X-ClickHouse-Key": unquote(parts.password or ""),
                    "User-Agent": self.name,
                    "Accept-Encoding": "identity",
                },
            )
        return self._session
