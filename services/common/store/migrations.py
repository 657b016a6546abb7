"""Brings the store's tables and views to what infra/clickhouse describes, through
clickhouse-migrations.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_migrations.clickhouse_cluster import ClickhouseCluster
from clickhouse_migrations.connection import CLICKHOUSE_CONNECT
from clickhouse_migrations.exceptions import MigrationException
from clickhouse_migrations.migrator import STATUS_APPLIED, STATUS_PENDING

from services.common.errors import ConfigError, StoreUnavailableError

MIGRATIONS = Path(__file__).resolve().parents[3] / "infra" / "clickhouse"


@dataclass(frozen=True, slots=True)
class MigrationState:
    """One migration: `state` is applied, pending, changed (its file is no longer what
    was applied) or unknown (it was applied, and has no file).
    """

    version: int
    name: str
    state: str


def migrate(url: str, folder: Path = MIGRATIONS) -> list[str]:
    """Applies what is pending, in order, and returns the names of what it applied.

    Doing it again changes nothing.

    Blocking: call it from a command, or in a thread.

    Raises:
        StoreUnavailableError: ClickHouse does not answer.
        ConfigError: a migration that was applied has been changed or removed since, or
            ClickHouse refuses a statement.
    """
    names = _names(folder)
    try:
        _create_database(url)
        applied = _cluster(url).migrate(
            _database(url), folder, create_db_if_no_exists=False, multi_statement=True
        )
    except MigrationException as error:
        raise ConfigError(
            f"the migrations in {folder.name} are not those that the store was built with: {error}. Add a "
            "new file instead of changing an applied one"
        ) from error
    except (ClickHouseError, OSError) as error:
        raise _explained(url, error) from error
    return [names[one.version] for one in applied]


def migration_states(url: str, folder: Path = MIGRATIONS) -> list[MigrationState]:
    """What is applied and what is not. Changes nothing. Blocking.

    Raises:
        StoreUnavailableError: ClickHouse does not answer.
        ConfigError: ClickHouse refuses to tell.
    """
    names = _names(folder)
    try:
        rows = _cluster(url).status(_database(url), folder)
    except (ClickHouseError, OSError) as error:
        raise _explained(url, error) from error
    known = {STATUS_APPLIED: "applied", STATUS_PENDING: "pending", "md5-mismatch": "changed"}
    return [
        MigrationState(row.version, names.get(row.version, "?"), known.get(row.state, "unknown"))
        for row in rows
    ]


def _names(folder: Path) -> dict[int, str]:
    found = {int(path.name.split("_", 1)[0]): path.stem for path in sorted(folder.glob("[0-9]*_*.sql"))}
    if not found:
        raise ConfigError(f"there are no migrations in {folder}; is the checkout complete?")
    return found


def _database(url: str) -> str:
    name = urlsplit(url).path.strip("/")
    if not name:
        raise ConfigError(
            "TOCSIN_CLICKHOUSE_URL must end in the database's name, as in http://user:password@host:8123/tocsin"
        )
    return name


def _create_database(url: str) -> None:
    """Atomic by name: in the embedded engine the default would be another."""
    parts = urlsplit(url)
    client = clickhouse_connect.get_client(
        dsn=urlunsplit(parts._replace(path="")), interface=parts.scheme, autogenerate_session_id=False
    )
    try:
        client.command(f"CREATE DATABASE IF NOT EXISTS `{_database(url)}` ENGINE = Atomic")
    finally:
        client.close()


def _cluster(url: str) -> ClickhouseCluster:
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    return ClickhouseCluster(db_url=url, driver=CLICKHOUSE_CONNECT, connect_timeout=5, query_timeout=120)


def _explained(url: str, error: Exception) -> ConfigError | StoreUnavailableError:
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port}"
    if getattr(error, "code", None) is None:
        return StoreUnavailableError(
            f"no ClickHouse at {where}: {error}; is it running, and is TOCSIN_CLICKHOUSE_URL right?"
        )
    return ConfigError(f"ClickHouse at {where} refuses: {error}")
