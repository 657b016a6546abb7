"""With the store's filter out of the way, the engine and the operating system still
hold: nothing is gained by a statement that gets past it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.store import RunningStore

_SECRET = "the-secret-of-this-home"
_FILES = [
    "SELECT file('/etc/hostname')",
    "SELECT file('{home}/secrets.json')",
    "SELECT file('{home}/connection.env')",
    "SELECT file('../secrets.json')",
    "SELECT file('audit/analyst.jsonl')",
    "SELECT file('/proc/self/environ')",
    "SELECT * FROM file('/etc/hostname', LineAsString)",
    "SELECT * FROM `{home}/secrets.json`",
    "SELECT * FROM default.`{home}/secrets.json`",
    "SELECT * FROM url('http://127.0.0.1:9/', LineAsString)",
    "SELECT * FROM executable('cat {home}/secrets.json', TSV, 'a String')",
    "SELECT 1 INTO OUTFILE '{home}/written'",
    "SELECT 1 INTO OUTFILE 'config/users.xml' TRUNCATE",
]
_WRITES = [
    "INSERT INTO tocsin.t VALUES (2)",
    "CREATE TABLE tocsin.u (a Int8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE u (a Int8)",
    "DROP TABLE tocsin.t",
    "SYSTEM SHUTDOWN",
    "GRANT ALL ON *.* TO default",
]
_LIMITS = [
    "SET max_memory_usage = 0",
    "SET max_memory_usage = DEFAULT",
    "SET readonly = 0",
    "SET readonly = DEFAULT",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "SELECT 1 SETTINGS readonly = 0",
]
_ROLES = ["SET ROLE store_admin", "SET ROLE ALL", "SELECT 1; SET ROLE ALL", "USE tocsin; SET ROLE ALL"]


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What came of every statement, by the way in."""
    home = tmp_path_factory.mktemp("home")
    for name in ("secrets.json", "connection.env"):
        (home / name).write_text(_SECRET)
    statements = [sql.replace("{home}", str(home)) for sql in (*_FILES, *_WRITES, *_LIMITS, *_ROLES)]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.clickhouse.engine_attempts", str(home), json.dumps(statements)],
        capture_output=True,
        timeout=120,
        check=False,
        text=True,
        env={"PATH": "/usr/bin:/bin", "A_SECRET": _SECRET, "TZ": "<+03>-3"},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    if not told["confinement"].startswith("landlock"):
        pytest.skip(f"this kernel does not confine processes ({told['confinement']})")
    assert not (home / "written").exists()
    assert _SECRET not in ran.stdout
    return {
        way: {sql.replace(str(home), "{home}"): outcome for sql, outcome in outcomes.items()}
        for way, outcomes in told["outcomes"].items()
    }


@pytest.mark.parametrize("sql", _FILES)
@pytest.mark.parametrize("way", ["sealed", "past the parser", "with every role", "admin"])
def test_no_way_into_the_engine_reaches_a_file_or_another_host(
    attempts: dict[str, dict[str, str]], way: str, sql: str
) -> None:
    """Not even the admin's: the process has no right to."""
    assert attempts[way][sql].startswith("error")
    assert Path("/etc/hostname").read_text().strip() not in attempts[way][sql].replace(sql, "").split()


@pytest.mark.parametrize("sql", _WRITES + _LIMITS)
@pytest.mark.parametrize("way", ["sealed", "past the parser", "with every role"])
def test_no_way_into_an_analysts_handle_writes_or_lifts_a_limit(
    attempts: dict[str, dict[str, str]], way: str, sql: str
) -> None:
    """Whatever role it takes, the handle stays read-only and its settings stay."""
    assert attempts[way][sql].startswith("error")


@pytest.mark.parametrize("sql", _ROLES)
def test_an_analysts_handle_takes_no_role(attempts: dict[str, dict[str, str]], sql: str) -> None:
    """The engine's own parser says what a statement is, and how many."""
    assert attempts["sealed"][sql].startswith(("error 164", "error 62"))


def test_the_store_runs_confined_and_says_so(store: RunningStore) -> None:
    """In the answer to /ping, which the doctor reads."""
    state = store.ask(method="GET", path="/ping").headers["x-tocsin-confinement"]
    assert state.startswith(("landlock", "none: "))
    status = Path(f"/proc/{store.pid}/status")
    if state.startswith("landlock") and status.exists():
        assert "NoNewPrivs:\t1" in status.read_text()


def test_confine_with_threads_already_there_says_that_it_does_nothing(tmp_path: Path) -> None:
    """A thread that exists would keep its rights: half a wall is none."""
    code = (
        "import threading, sys, pathlib\n"
        "from services.embedded.clickhouse.engine.confinement import confine\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start(); "
        "print(confine(pathlib.Path(sys.argv[1]))); open('/etc/hostname').close()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.startswith("none: ")


@pytest.mark.parametrize("path", ["/proc/self/auxv", "/sys/devices/system/cpu/possible"])
def test_what_the_engine_asks_of_the_system_can_be_read(tmp_path: Path, path: str) -> None:
    """Where it is refused auxv, the engine looks for it in memory that may hold anything,
    and crashes now and then.
    """
    if not Path(path).exists():
        pytest.skip(f"this system has no {path}")
    program = (
        "import sys; from pathlib import Path; from services.embedded.clickhouse.engine import confinement; "
        "told = confinement.confine(Path(sys.argv[1])); "
        "print(told, len(Path(sys.argv[2]).read_bytes()) > 0)"
    )
    (tmp_path / "tmp").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), path],
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )
    assert ran.stdout.endswith("True\n"), ran.stderr
