"""The embedded store met by drivers of other languages, as analyst and as service: the
Go driver over HTTP (Grafana's plugin) and JDBC (DBeaver, Metabase).

Their sources are in clients/. Where the tool or its registry is missing, the test says
so and is skipped.
"""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.store import RunningStore

_CLIENTS = Path(__file__).parent / "clients"
_BUILD_S = 240
_RUN_S = 60
pytestmark = pytest.mark.timeout(_BUILD_S * 2 + _RUN_S)


@pytest.fixture
def table(store: RunningStore) -> Iterator[str]:
    """An empty table with a number and a text."""
    name = f"tocsin.d_{uuid.uuid4().hex[:8]}"
    assert store.ask(f"CREATE TABLE {name} (a UInt32, s String) ENGINE = MergeTree ORDER BY a").status == 200
    yield name
    store.ask(f"DROP TABLE {name}")


def _build(folder: Path, *command: str) -> bool:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_BUILD_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _run(store: RunningStore, table: str, *command: str) -> list[str]:
    passwords = {f"STORE_PASSWORD_{user}": password for user, password in store.passwords.items()}
    environment = {"STORE_ADDRESS": f"{store.host}:{store.port}", "STORE_TABLE": table, **passwords}
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=_RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_go_driver_over_http_connects_reads_and_inserts(
    store: RunningStore, table: str, tmp_path: Path
) -> None:
    """Ping, version, fourteen types, four compressions and a batch: the store frames
    Native blocks for the driver's revision.
    """
    if shutil.which("go") is None:
        pytest.skip("there is no go here")
    client = tmp_path / "client"
    if not _build(_CLIENTS / "go", "go", "build", "-o", str(client), "."):
        pytest.skip("the Go client cannot be built: its modules cannot be had here")
    told = _run(store, table, str(client))
    assert told.count("read 3 19999899993 0") == 8
    assert told[-2:] == ["inserted 1000", "refused true"]


def test_jdbc_driver_connects_browses_reads_and_inserts(
    store: RunningStore, table: str, tmp_path: Path
) -> None:
    """Validity, metadata as a tool browses it, types, parameters and a batch."""
    if shutil.which("mvn") is None or shutil.which("java") is None:
        pytest.skip("there is no mvn or no java here")
    copy = ("mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={tmp_path}")
    if not any(_build(_CLIENTS / "jdbc", *copy, *more) for more in (("-o",), ())):
        pytest.skip("the JDBC driver cannot be had here")
    told = _run(store, table, "java", "-cp", f"{tmp_path}/*", str(_CLIENTS / "jdbc" / "Client.java"))
    assert (told.count("read 3 5"), told.count("browsed true ClickHouse")) == (4, 4)
    assert told[-2:] == ["inserted 100", "refused true"]
