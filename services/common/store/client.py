"""The one door to ClickHouse: inserts that can be repeated without harm, queries,
commands. Nothing else imports its driver.

The same code talks to a ClickHouse server and to the embedded store, over HTTP. What
fails is told apart by what to do about it: `StoreUnavailableError` (and
`StoreMisconfiguredError`, which an operator has to mend) may work later,
`StoreRejectedError` never will.
"""

import asyncio
import contextlib
import logging
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver import create_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, Error
from clickhouse_connect.driver.insert import InsertContext

from services.common.errors import ConfigError, StoreRejectedError, StoreUnavailableError
from services.common.retry import retry

# ClickHouse's own numbers (src/Common/ErrorCodes.cpp). What is in neither set may pass:
# no memory, too many queries, shutting down, a broken disk.
_MISCONFIGURED = {
    16: "column",
    60: "table",
    81: "database",
    164: "right",
    192: "user",
    193: "password",
    194: "password",
    497: "right",
    516: "password",
}
_REJECTED = frozenset(
    {
        6,
        26,
        27,
        33,
        36,
        38,
        39,
        41,
        42,
        43,
        44,
        46,
        47,
        48,
        50,
        53,
        57,
        62,
        63,
        69,
        70,
        72,
        117,
        128,
        130,
        131,
        153,
        158,
        179,
        184,
        206,
        215,
        307,
        321,
        349,
        386,
        395,
        396,
        407,
        456,
        457,
        469,
        675,
        676,
    }
)
_ENCODING = (ValueError, TypeError, OverflowError, ArithmeticError, AttributeError, struct.error)


class StoreMisconfiguredError(StoreUnavailableError):
    """The store is there, but lacks a table or a right: it works once somebody migrates
    it or mends TOCSIN_CLICKHOUSE_URL.
    """


@dataclass(frozen=True, slots=True)
class Table:
    """A table as its writer knows it: its name, and its columns in order with
    ClickHouse's types.
    """

    name: str
    columns: Mapping[str, str]


@dataclass
class Store:
    """Connections to one database. `url` is http[s]://user:password@host:port/database.

    At most `connections` requests are under way; the others wait. A request that takes
    longer than `timeout_s` is given up; so is a store that takes the connection and then
    says nothing for `first_answer_s`, however long a statement may take.
    """

    url: str = field(repr=False)
    name: str = "tocsin"
    timeout_s: float = 30.0
    connections: int = 8
    first_answer_s: float = 10.0
    _client: AsyncClient | None = field(default=None, init=False)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not parts.path.strip("/"):
            raise ConfigError("TOCSIN_CLICKHOUSE_URL must look like http://user:password@host:8123/database")
        if "/" in parts.path.strip("/"):
            raise ConfigError(
                f"TOCSIN_CLICKHOUSE_URL has the path {parts.path!r}: it names one database, and a ClickHouse "
                "behind a path prefix cannot be used; give it a host name or a port of its own"
            )
        self._slots = asyncio.Semaphore(self.connections)
        # The driver logs each refused connection with a traceback; what it raises says
        # the same, once.
        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)

    @property
    def address(self) -> str:
        """Where the store is, without the password."""
        parts = urlsplit(self.url)
        port = parts.port or (8443 if parts.scheme == "https" else 8123)
        return f"{parts.scheme}://{parts.hostname}:{port}{parts.path}"

    async def start(self, timeout_s: float = 60.0) -> None:
        """Connects, waiting for a store that is not there yet.

        Raises:
            StoreUnavailableError: not within `timeout_s`.
        """
        await retry(self.ping, on=StoreUnavailableError, timeout_s=timeout_s)

    async def ping(self) -> None:
        """Does the least that shows the store answering.

        Raises:
            StoreUnavailableError: it does not.
        """
        await self.query("SELECT 1")

    async def confinement(self) -> str | None:
        """What keeps the embedded store's process to its own files, or why nothing does
        (`none: …`); None for a ClickHouse server.

        Raises:
            StoreUnavailableError: it does not answer.
        """
        parts = urlsplit(self.address)
        timeout = aiohttp.ClientTimeout(total=self.timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{parts.scheme}://{parts.netloc}/ping") as answer,
            ):
                return answer.headers.get("X-Tocsin-Confinement")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StoreUnavailableError(f"the store at {self.address} does not answer: {error}") from error

    async def insert(self, table: Table, rows: Sequence[Sequence[Any]], *, token: str) -> None:
        """Inserts rows as one block: all of them or, on failure, none or all.

        The same `token` again changes nothing, neither in the table nor in what its
        materialized views fill, so a failed insert is repeated as it was.

        Raises:
            StoreUnavailableError: not now; whether the rows are in is unknown.
            StoreRejectedError: a value does not fit its column; nothing was inserted.
        """
        if not rows:
            return
        context = InsertContext(
            f"`{table.name}`",
            list(table.columns),
            [get_from_name(one) for one in table.columns.values()],
            data=list(zip(*rows, strict=True)),
            column_oriented=True,
            block_size=len(rows),
            settings={
                "insert_deduplication_token": token,
                "async_insert": 0,
                "deduplicate_blocks_in_dependent_materialized_views": 1,
            },
        )
        async with self._request(f"insert into {table.name}") as client:
            context.compression = client.write_compression
            await client.data_insert(context)

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """A query's rows.

        `{name:Type}` in the statement takes its value from `parameters`.

        Raises:
            StoreUnavailableError: not now.
            StoreRejectedError: the statement is wrong.
        """
        async with self._request("query") as client:
            result = await client.query(sql, parameters=dict(parameters or {}))
            return list(result.named_results())

    async def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Executes a statement that returns nothing; parameters are those of `query`.

        Raises:
            StoreUnavailableError: not now.
            StoreRejectedError: the statement is wrong.
        """
        async with self._request("command") as client:
            await client.command(sql, parameters=dict(parameters or {}))

    async def close(self) -> None:
        """Disconnects."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @contextlib.asynccontextmanager
    async def _request(self, what: str) -> AsyncIterator[AsyncClient]:
        try:
            async with asyncio.timeout(self.timeout_s), self._slots:
                yield await self._connected()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise StoreUnavailableError(
                f"ClickHouse at {self.address} did not answer ({what}) within {self.timeout_s} s: {error!r}"
            ) from error
        except ClickHouseError as error:
            raise _translated(error, self.address, what) from error
        except _ENCODING as error:
            raise StoreRejectedError(f"a value does not fit ({what}): {error}") from error

    async def _connected(self) -> AsyncClient:
        async with self._opening:
            if self._client is None:
                try:
                    async with asyncio.timeout(self.first_answer_s):
                        self._client = await self._connect()
                except TimeoutError as error:
                    raise StoreUnavailableError(
                        f"ClickHouse at {self.address} did not answer within {self.first_answer_s} s: it "
                        "hangs, or is overloaded"
                    ) from error
            return self._client

    async def _connect(self) -> AsyncClient:
        return await create_async_client(
            dsn=self.url,
            interface=urlsplit(self.url).scheme,
            client_name=self.name,
            autogenerate_session_id=False,
            connect_timeout=5,
            send_receive_timeout=self.timeout_s,
            connector_limit=self.connections,
            connector_limit_per_host=self.connections,
            query_retries=0,
            show_clickhouse_errors=True,
            compress="lz4",
            tz_mode="aware",
        )


def _translated(
    error: ClickHouseError, address: str, what: str
) -> StoreUnavailableError | StoreRejectedError:
    """What an error of the driver means for the caller."""
    code = error.code if isinstance(error, Error) else None
    text = f"ClickHouse at {address} ({what}): {error}"
    if code is None and isinstance(error, DataError):
        return StoreRejectedError(text)
    return failure_of(code, text)


def failure_of(code: int | None, text: str) -> StoreUnavailableError | StoreRejectedError:
    """What one of ClickHouse's errors means for the caller, by its number."""
    if code in _MISCONFIGURED:
        return StoreMisconfiguredError(
            f"{text}. The {_MISCONFIGURED[code]} is missing or wrong: run `tocsin migrate`, or mend "
            "TOCSIN_CLICKHOUSE_URL"
        )
    return StoreRejectedError(text) if code in _REJECTED else StoreUnavailableError(text)
