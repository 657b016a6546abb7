"""`tocsin up`, `status` and `down` over a small table: what they write, say and refuse."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.embedded.installation.home import Home
from services.embedded.installation.ports import free_port
from services.embedded.supervision.process_sessions import session_members

# `tocsin up` with a table of two: a service that also tells of a model's replica, as
# inference does, and a gateway.
PROGRAM = """
import asyncio, os, sys
from services.embedded.installation.home import Home
from services.embedded.supervision.processes import ProcessSpec, http_probe
from services.embedded.installation.process_table import DEFAULT_PORTS, Addresses, Given
from services.embedded.installation.up import Installation, run_alone
home, inference, gateway, fake = Home(), int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
addresses = Addresses(DEFAULT_PORTS | {"gateway": gateway}, Given(None, None))
def spec(role, port):
    return ProcessSpec(role, (sys.executable, fake, str(port)), port=port, ready=http_probe(port, "/ready"))
def plan():
    home.keep_secrets(home.secrets() | {"first_signed_key": "tsn_key"})
    passwords = {"analyst": "analyst's password"}
    specs = [spec("inference", inference), spec("gateway", gateway)]
    return Installation(home, addresses, passwords, {}, specs)
sys.exit(run_alone(home, plan))
"""
FAKE = """
import http.server, json, os, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        replica = {"role": "replica", "name": "m#1", "pid": os.getpid(), "state": "running"}
        self.wfile.write(json.dumps([replica]).encode())
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


class Runs:
    """Starts `tocsin` commands in one home."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self._fake = folder / "fake.py"
        self._fake.write_text(FAKE)
        self._ports = [str(free_port()), str(free_port())]
        self.ups: list[subprocess.Popen[str]] = []

    def up(self) -> "subprocess.Popen[str]":
        """Starts the installation."""
        command = [sys.executable, "-c", PROGRAM, *self._ports, str(self._fake)]
        process = subprocess.Popen(
            command,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.ups.append(process)
        return process

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs a `tocsin` command to its end."""
        command = [sys.executable, "-m", "services.cli", *arguments]
        return subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, check=False, timeout=60
        )

    def status(self) -> dict[str, Any]:
        """What `tocsin status --json` says."""
        return dict(json.loads(self.command("status", "--json").stdout))

    def until_ready(self) -> None:
        """Waits for the installation."""
        until(lambda: self.home.read_state().get("state") == "ready" and self.home.is_locked())

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "TOCSIN_HOME": str(self.home.root)}


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """A home in which nothing runs; whatever runs at the end is ended."""
    one = Runs(tmp_path)
    yield one
    for process in one.ups:
        process.kill()
        process.communicate()


def test_up_once_ready_has_written_what_clients_need_and_says_what_to_paste(runs: Runs) -> None:
    """The environment file and the printed lines lead to the gateway and the store."""
    process = runs.up()
    runs.until_ready()
    script = f". {runs.home.connection_file} && env"
    environment = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, timeout=10, env={}
    ).stdout
    gateway = f"http://127.0.0.1:{runs.status()['processes'][1]['port']}"
    assert f"OPENAI_BASE_URL={gateway}/v1\n" in environment
    assert "OPENAI_API_KEY=tsn_key\n" in environment
    assert "TOCSIN_KAFKA_URL=127.0.0.1:19092\n" in environment
    assert "TOCSIN_CLICKHOUSE_URL=http://127.0.0.1:8123/tocsin\n" in environment
    assert "TOCSIN_ANALYST_USER=analyst\n" in environment
    assert "TOCSIN_ANALYST_PASSWORD=analyst's password\n" in environment
    assert runs.command("down").returncode == 0
    printed = process.communicate(timeout=30)[0]
    assert f"curl -N {gateway}/v1/chat/completions -H 'Authorization: Bearer tsn_key'" in printed
    assert process.returncode == 0


def test_status_lists_every_process_and_the_models_of_inference(runs: Runs) -> None:
    """Role, pid, port, state and restarts, of what Ray runs too."""
    runs.up()
    runs.until_ready()
    report = runs.status()
    assert report["state"] == "ready"
    assert [one["role"] for one in report["processes"]] == ["inference", "gateway", "replica"]
    assert [one["state"] for one in report["processes"]] == ["ready", "ready", "running"]
    assert report["processes"][2]["pid"] == report["processes"][0]["pid"]
    shown = runs.command("status")
    assert shown.returncode == 0
    assert "m#1" in shown.stdout


def test_up_while_another_runs_says_where_and_starts_nothing(runs: Runs) -> None:
    """One supervisor a home."""
    runs.up()
    runs.until_ready()
    second = runs.up()
    assert runs.home.read_state()["url"] in second.communicate(timeout=30)[0]
    assert second.returncode == 0
    assert runs.status()["state"] == "ready"


def test_up_after_a_supervisor_that_left_something_ends_it_and_spares_others(runs: Runs) -> None:
    """What the last state names is ended if it is the same process still, and not
    another that has its number by now.
    """
    idle = [sys.executable, "-c", "import time; time.sleep(600)"]
    left, other = (subprocess.Popen(idle, start_new_session=True) for _ in range(2))
    runs.home.create()
    entries = [{"pid": left.pid, "started": time.time()}, {"pid": other.pid, "started": time.time() - 3600}]
    runs.home.write_state({"state": "ready", "processes": entries})
    try:
        runs.up()
        assert left.wait(30) == -signal.SIGKILL
        runs.until_ready()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_down_with_nothing_running_says_so(runs: Runs) -> None:
    """It is no failure, and leaves no folder behind."""
    done = runs.command("down")
    assert done.returncode == 0
    assert "Nothing runs" in done.stdout
    assert not runs.home.root.exists()


def test_status_after_the_supervisor_was_killed_is_stopped_and_up_starts_anew(runs: Runs) -> None:
    """A state file that nobody keeps any more is not believed."""
    process = runs.up()
    runs.until_ready()
    pids = [one["pid"] for one in runs.home.read_state()["processes"]]
    process.kill()
    process.wait()
    assert runs.status()["state"] == "stopped"
    until(lambda: not any(session_members(pid) for pid in pids))
    runs.up()
    until(
        lambda: (
            runs.home.read_state().get("state") == "ready" and runs.home.read_state()["pid"] != process.pid
        )
    )
    assert runs.status()["state"] == "ready"
