"""chDB: one engine for one directory, and a fresh handle for each request.

Settings, roles and the current database stick to a handle, so handles are not reused
(one costs 0.15 ms); sessions are the exception. Everything here blocks and runs in
worker threads. chDB gives no query ids to choose, so each request's `log_comment` ends
with its id, and KILL QUERY finds it by that.
"""

import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import structlog

from services.common.store.tenant_views import TENANT_VIEWS
from services.embedded.clickhouse.engine.deduplication import forget_unfinished, unfinished
from services.embedded.clickhouse.engine.inserts import Insert, InsertFailures, Progress
from services.embedded.clickhouse.engine.renderer import Renderer
from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql.inserts import first_word
from services.embedded.clickhouse.sql.lexer import quote, tokens
from services.embedded.clickhouse.sql.rights import DATABASE
from services.embedded.clickhouse.sql.vocabulary import FIRST_WORDS
from services.embedded.clickhouse.users import Role

_log = structlog.get_logger(__name__)
_PIECE = 1 << 20
_STORED_WITHIN_S = 0.2
"""Longer than between a block's line in the deduplication log and its part."""
_CONFIG = """<clickhouse>
  <timezone>UTC</timezone>
  <users_config>{users}</users_config>
  <user_directories><users_xml><path>{users}</path></users_xml></user_directories>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
  <mark_cache_size>{cache}</mark_cache_size>
  <index_mark_cache_size>{cache}</index_mark_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <user_files_path>{files}</user_files_path>
  <query_cache><max_size_in_bytes>0</max_size_in_bytes></query_cache>
</clickhouse>
"""
# chDB knows one user, `default`. It may do nothing by itself; each request takes one of
# these roles.
_USERS = """<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT store_admin, store_service, store_analyst, store_gateway, store_tenant_analyst</query>
      </grants>
      <databases><{database}>{policies}</{database}></databases>
    </default>
  </users>
  <roles>
    <store_admin><grants><query>GRANT ALL ON *.* WITH GRANT OPTION</query></grants></store_admin>
    <store_service><grants>
      <query>GRANT SELECT, INSERT, ALTER UPDATE, ALTER DELETE, OPTIMIZE, TRUNCATE, SHOW, dictGet
        ON {database}.*</query>
    </grants></store_service>
    <store_analyst><grants><query>GRANT SELECT, SHOW, dictGet ON {database}.*</query></grants></store_analyst>
    <store_gateway><grants>
      <query>GRANT SELECT({spend}) ON {database}.inference_events</query>
    </grants></store_gateway>
    <store_tenant_analyst><grants>{views}</grants></store_tenant_analyst>
  </roles>
</clickhouse>
"""

# Row policies, which chDB takes from configuration alone, for its one user. It knows no
# settings of one's own either: `workload`, a name that nothing here is scheduled by, says
# whose rows a handle reads. A handle that was told nothing reads nobody's.
TENANT_SETTING = "workload"
_EVERYBODY, _ONE = "everybody", "tenant:"
_ROW_POLICY = (
    f"tenant = substring(getSetting('{TENANT_SETTING}'), {len(_ONE) + 1}) "
    f"AND startsWith(getSetting('{TENANT_SETTING}'), '{_ONE}') "
    f"OR getSetting('{TENANT_SETTING}') = '{_EVERYBODY}'"
)


SPEND_COLUMNS = (
    "tenant",
    "key_id",
    "user",
    "model",
    "cost_usd",
    "completed_at",
    "topic",
    "partition",
    "offset",
)
"""What a gateway reads of requests, for budgets; infra/clickhouse/users.d says the same
to ClickHouse servers.
"""
FOLDERS = ("config", "data", "audit", "tmp", "user_files", "analysts")
"""What lies in a data directory; `confinement.py` says who may do what in them."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Bytes of memory for the whole engine and for one query; seconds for one query, by
    default and, for analysts and gateways, at most.

    An INSERT of less than `insert_block_bytes` of data is one block: stored whole or
    not at all, and known by its deduplication token.
    """

    memory_bytes: int = 2 << 30
    query_memory_bytes: int = 1 << 30
    analyst_memory_bytes: int = 512 << 20
    result_bytes: int = 256 << 20
    insert_block_bytes: int = 64 << 20
    query_s: float = 300.0
    analyst_query_s: float = 30.0
    analyst_query_max_s: float = 60.0


def cut(data: bytes | memoryview) -> Generator[bytes, None, None]:
    """Pieces of a mebibyte at most."""
    for at in range(0, len(data), _PIECE):
        yield bytes(data[at : at + _PIECE])


def _pieces_of(result: Any) -> Generator[bytes, None, None]:
    """A result's bytes without a second copy of the whole.

    The view does not keep the result's memory: these names do.
    """
    if result.size():
        wrapper = result.get_memview()
        yield from cut(wrapper.view())


Parser = Callable[[str], bytes]
"""What the engine makes of one statement, as text."""


class Handle:
    """One connection to the engine, with its role, settings, database and parameters."""

    def __init__(self, connection: Any, failures: InsertFailures, reads_only: "Parser | None" = None) -> None:
        self._connection = connection
        self._failures = failures
        self._reads_only = reads_only
        self.progress = Progress()
        connection.set_progress_callback(self.progress.update)

    def command(self, sql: str) -> bytes:
        """Runs a statement of ours; its result as TSV."""
        return b"".join(self._run(sql, "TSV"))

    def seal(self, settings: Mapping[str, str]) -> None:
        """Applies the last settings; from then on the engine refuses every other one
        and every write, whatever role is taken.
        """
        apply_settings(self, {**settings, "readonly": "1"})

    def query(self, sql: str, output_format: str) -> Generator[bytes, None, None]:
        """Runs a statement to its end; then its result in pieces, out of the engine's
        own memory.
        """
        self._check(sql)
        return self._run(sql, output_format)

    def _run(self, sql: str, output_format: str) -> Generator[bytes, None, None]:
        try:
            result = self._connection.query(sql, output_format)
        except Exception as error:
            self._failures.forget()
            raise StoreError.of_engine(error) from error
        progress = self.progress
        progress.read_rows = max(progress.read_rows, int(result.storage_rows_read() or 0))
        progress.read_bytes = max(progress.read_bytes, int(result.storage_bytes_read() or 0))
        progress.written_rows = max(progress.written_rows, int(result.rows_written() or 0))
        progress.written_bytes = max(progress.written_bytes, int(result.bytes_written() or 0))
        progress.elapsed_ns = max(progress.elapsed_ns, int((result.elapsed() or 0) * 1e9))
        return _pieces_of(result)

    def stream(
        self, sql: str, output_format: str, transform: Callable[[bytes], bytes] = bytes
    ) -> Generator[bytes, None, None]:
        """Runs a query; its result in pieces, as it is computed.

        `transform` gets each block whole. Closing the iterator cancels the query.
        """
        self._check(sql)
        try:
            blocks = self._connection.send_query(sql, output_format)
        except Exception as error:
            self._failures.forget()
            raise StoreError.of_engine(error) from error
        try:
            for block in blocks:
                yield from cut(transform(block.bytes()))
        except Exception as error:
            self._failures.forget()
            raise StoreError.of_engine(error) from error
        finally:
            blocks.close()

    def insert(self, statement: str, input_format: str) -> Insert:
        """Begins an INSERT whose rows are appended; nothing is stored before `finish`,
        as long as they fit one block.
        """
        self._check(statement)
        return Insert(
            self.progress, self._failures, lambda: self._connection.send_insert(statement, input_format)
        )

    def _check(self, sql: str) -> None:
        """An analyst's handle runs what the engine's own parser calls one statement
        that reads; SET ROLE is none.
        """
        if self._reads_only is None:
            return
        word = first_word(list(tokens(self._reads_only(sql))))
        if word not in FIRST_WORDS[Role.ANALYST]:
            raise StoreError(164, "READONLY", f"Cannot execute {word.upper() or 'this'} in readonly mode")

    def close(self) -> None:
        """Gives the connection back."""
        self._connection.close()


class Engine:
    """The engine of one data directory.

    A second process on the same directory is refused by chDB.
    """

    def __init__(self, folder: Path, limits: EngineLimits) -> None:
        self._folder = folder
        self._limits = limits
        self._connect: Any = None
        self._control: Handle | None = None
        self._control_lock = threading.Lock()
        self._failures = InsertFailures(lambda: self.handle(Role.ADMIN))
        self._renderer = Renderer(lambda: self.handle(Role.ANALYST))
        self.parse = self._renderer.render
        self.version = ""
        self.timezone = ""

    def prepare(self) -> None:
        """Writes the configuration and makes the folders, before the process loses the
        right to.
        """
        for folder in (self._folder, *(self._folder / name for name in FOLDERS)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        config = self._folder / "config"
        (config / "users.xml").write_text(
            _USERS.format(
                database=DATABASE,
                spend=", ".join(SPEND_COLUMNS),
                views="".join(f"<query>GRANT SELECT ON {DATABASE}.{one}</query>" for one in TENANT_VIEWS),
                policies="".join(f"<{one}><filter>{_ROW_POLICY}</filter></{one}>" for one in TENANT_VIEWS),
            ),
            encoding="utf-8",
        )
        (config / "config.xml").write_text(
            _CONFIG.format(
                users=escape(str((config / "users.xml").resolve())),
                files=escape(str((self._folder / "user_files").resolve())),
                memory=self._limits.memory_bytes,
                cache=min(self._limits.memory_bytes // 16, 128 << 20),
            ),
            encoding="utf-8",
        )

    def mend(self) -> None:
        """Mends what a crash left, before `open`.

        Raises:
            StoreError: another process has the directory open.
        """
        for one in forget_unfinished(self._folder / "data"):
            _log.warning("unfinished_block_forgotten", table=one.table, part=one.part, block=one.block)

    def end_where_torn(self) -> None:
        """Ends the process if an insert that failed is remembered as stored (ADR 20):
        the engine would drop its repeats, and forgets it only when it is opened again.
        """
        torn = unfinished(self._folder / "data")
        if torn:
            time.sleep(_STORED_WITHIN_S)
            torn &= unfinished(self._folder / "data")
        if torn:
            _log.critical("store_ends_to_forget_unfinished_blocks", blocks=len(torn))
            os._exit(os.EX_SOFTWARE)

    def open(self) -> None:
        """Starts the engine and creates the database; `prepare` and `mend` come first.

        The process' time zone becomes UTC: all times are UTC in the store, and chDB
        stops at a TZ in POSIX's form.

        Importing chDB starts an engine of its own for a moment, and that reads a
        config.xml of the working directory: hence the change of directory before it.
        Paths are relative from then on, so that no sign in them can be taken for chDB's
        own options.
        """
        os.environ["TZ"] = "UTC"
        time.tzset()
        os.chdir(self._folder)
        import chdb  # noqa: PLC0415 - see above

        self._connect = chdb.connect
        self._control = self.handle(Role.ADMIN)
        self._control.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic")
        self.version, self.timezone = self._control.command("SELECT version(), timezone()").decode().split()

    def handle(self, role: Role) -> Handle:
        """A new handle in the role, without settings and in no particular database."""
        reads_only = self.parse if role.only_reads else None
        try:
            handle = Handle(self._connect("data?config-file=config/config.xml"), self._failures, reads_only)
        except Exception as error:
            raise StoreError.of_engine(error) from error
        handle.command(f"SET ROLE store_{role.value}")
        return handle

    def defaults(self, role: Role, tenant: str = "") -> dict[str, str]:
        """The settings that every handle of the role begins with: its limits, whose rows
        it reads, and what makes an answer mean the same in every mode.
        """
        limits = self._limits
        analyst = role.only_reads
        return {
            TENANT_SETTING: f"{_ONE}{tenant}" if role is Role.TENANT_ANALYST else _EVERYBODY,
            "implicit_select": "0",
            "async_insert": "0",
            "max_execution_time": str(limits.analyst_query_s if analyst else limits.query_s),
            "max_memory_usage": str(limits.analyst_memory_bytes if analyst else limits.query_memory_bytes),
            "min_insert_block_size_bytes": str(limits.insert_block_bytes),
            "input_format_max_block_size_bytes": str(limits.insert_block_bytes // 4),
            "input_format_parallel_parsing": "0",
            "output_format_parallel_formatting": "0",
        }

    def kill(self, query_id: str) -> None:
        """Asks the engine to end a query; it ends soon, or has ended, or has not begun:
        ask again until its thread is back.
        """
        with self._control_lock:
            if self._control is not None:
                self._control.command(
                    f"KILL QUERY WHERE endsWith(Settings['log_comment'], {quote(tag(query_id))}) ASYNC"
                )

    def close(self) -> None:
        """Closes the last handle, which ends the engine."""
        with self._control_lock:
            self._renderer.close()
            self._failures.close()
            if self._control is not None:
                self._control.close()
                self._control = None


def tag(query_id: str) -> str:
    """The end of the `log_comment` of a request."""
    return f"query_id={query_id}"


def apply_settings(handle: Handle, settings: Mapping[str, str]) -> None:
    """SETs them all; the names have been checked."""
    if settings:
        handle.command("SET " + ", ".join(f"{name} = {quote(value)}" for name, value in settings.items()))


def apply_parameters(handle: Handle, parameters: Mapping[str, str]) -> None:
    """Makes `{name:Type}` known to the handle; values are in the escaped form of TSV,
    as ClickHouse wants them.
    """
    apply_settings(handle, {f"param_{name}": value for name, value in parameters.items()})


def use_database(handle: Handle, name: str) -> None:
    """USE."""
    handle.command("USE `" + name.replace("\\", "\\\\").replace("`", "\\`") + "`")
