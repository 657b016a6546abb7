"""`tocsin export` through everything that is killed under it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas.control import Scope
from services.common.identity import create_key
from services.common.store import Store
from services.common.store.migrations import migrate
from services.embedded.installation.ports import free_port
from tests.support.analyzer.traffic import Traffic, generate
from tests.support.control import PEPPER
from tests.support.store import RunningStore, running_store

TRAFFIC = Traffic(12_000, 2, datetime(2026, 9, 20, tzinfo=UTC), tenants=3, users=9)
SPAN = ("--from", "2026-09-18", "--to", "2026-09-20")
_WAIT_S = 90.0


@dataclass
class Scene:
    """A store, a console before it, and a folder to export to."""

    store: RunningStore
    folder: Path
    key: str
    port: int = field(default_factory=free_port)
    console: subprocess.Popen[bytes] = field(init=False)

    def start_console(self) -> None:
        """Starts the console's process."""
        module = ("-m", "tests.support.console.serving", self.store.url("service"), str(self.port))
        self.console = subprocess.Popen([sys.executable, *module, str(self.folder / "key.json")])

    def command(self, output: str, *options: str) -> subprocess.Popen[bytes]:
        """Starts `tocsin export v_requests`."""
        named = ("--url", f"http://127.0.0.1:{self.port}", "--output", str(self.folder / output))
        return subprocess.Popen(
            [sys.executable, "-m", "services.cli", "export", "v_requests", *SPAN, *named, *options],
            env={**os.environ, "TOCSIN_API_KEY": self.key, "TOCSIN_HOME": str(self.folder / "home")},
            stderr=subprocess.PIPE,
        )

    def export(self, output: str, *options: str) -> Path:
        """Exports to the end."""
        command = self.command(output, *options)
        _, said = command.communicate(timeout=_WAIT_S)
        assert command.returncode == 0, said.decode()
        return self.folder / output

    def pages(self, output: str) -> int:
        """How many pages are there; 0 before the first."""
        try:
            return int(json.loads((self.folder / f"{output}.parts" / "state.json").read_text())["pages"])
        except FileNotFoundError:
            return 0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Twelve thousand requests, and a key of the platform's administrator."""
    clear, record = create_key(
        pepper=PEPPER, name="k", tenant="default", now=datetime(2026, 9, 1, tzinfo=UTC), scopes=tuple(Scope)
    )
    (tmp_path / "key.json").write_bytes(record.model_copy(update={"version": 1}).encode())
    with running_store(tmp_path / "store") as store:
        migrate(store.url("admin"))

        async def fill() -> None:
            async with Store(store.url("admin")) as door:
                await generate(door, TRAFFIC)

        asyncio.run(fill())
        made = Scene(store, tmp_path, clear)
        made.start_console()
        yield made
        made.console.kill()
        made.console.wait(30)


def _wait(until: Callable[[], bool]) -> None:
    give_up = time.monotonic() + _WAIT_S
    while not until():
        assert time.monotonic() < give_up
        time.sleep(0.005)


@pytest.mark.timeout(400)
def test_export_is_the_same_whatever_is_killed_under_it(scene: Scene) -> None:
    """Kill -9 of the command, of the console and of the store, each midway."""
    plain = scene.export("plain.ndjson", "--rows", "3000").read_bytes()
    ids = [json.loads(line)["request_id"] for line in plain.splitlines()]
    assert ids == scene.store.ask(
        "SELECT request_id FROM v_requests ORDER BY completed_at, tenant, request_id", database="tocsin"
    ).text.split("\n")

    small = ("--rows", "100")
    first = scene.command("killed.ndjson", *small)
    _wait(lambda: scene.pages("killed.ndjson") >= 2)
    first.kill()
    first.communicate(timeout=_WAIT_S)
    kept = scene.pages("killed.ndjson")
    assert 2 <= kept < 120

    second = scene.command("killed.ndjson", *small)
    _wait(lambda: scene.pages("killed.ndjson") > kept)
    scene.console.send_signal(signal.SIGKILL)
    scene.console.wait(30)
    assert scene.pages("killed.ndjson") < 120
    scene.start_console()
    kept = scene.pages("killed.ndjson")
    _wait(lambda: scene.pages("killed.ndjson") > kept)
    scene.store.restart(kill=True)
    _, said = second.communicate(timeout=2 * _WAIT_S)
    assert second.returncode == 0, said.decode()
    assert (scene.folder / "killed.ndjson").read_bytes() == plain
    assert not (scene.folder / "killed.ndjson.parts").exists()

    parquet = pq.read_table(scene.export("pages.parquet", "--rows", "5000", "--format", "parquet"))
    assert parquet["request_id"].to_pylist() == ids
    again = scene.command("killed.ndjson", *small)
    _, said = again.communicate(timeout=_WAIT_S)
    assert (again.returncode, b"there already" in said) == (2, True)
