"""Ray under the supervisor: a dozen processes that Ray starts by itself, and none of
them stays behind.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.embedded.installation.ports import free_port
from services.embedded.supervision.process_sessions import session_members

pytestmark = pytest.mark.e2e

RAY = """
import http.server, os, sys
import ray
port, folder = sys.argv[1:]
ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, object_store_memory=100 * 2**20,
         log_to_driver=False, _temp_dir=folder)
@ray.remote(num_cpus=0.1)
class Actor:
    def pid(self):
        return os.getpid()
actors = [Actor.remote() for _ in range(2)]
ray.get([actor.pid.remote() for actor in actors])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(port)), Answer).serve_forever()
"""

SUPERVISOR = """
import asyncio, json, sys
from pathlib import Path
from services.embedded.supervision.log_console import Console
from services.embedded.supervision.processes import ProcessSpec, http_probe
from services.embedded.supervision.supervisor import Supervisor
folder, program, port, temporary = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
spec = ProcessSpec("ray", (sys.executable, "-c", program, str(port), temporary), port=port,
                   ready=http_probe(port, "/"), env={"RAY_USAGE_STATS_ENABLED": "0"})
def report(state, processes):
    (folder / "new").write_text(json.dumps({"state": state, "processes": processes}))
    (folder / "new").rename(folder / "state.json")
asyncio.run(Supervisor([spec], Console(folder), report).run())
"""


class Supervised:
    """A supervisor process and what it last reported."""

    def __init__(self, folder: Path, temporary: str) -> None:
        self._state = folder / "state.json"
        command = [sys.executable, "-c", SUPERVISOR, str(folder), RAY, str(free_port()), temporary]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)

    @property
    def pid(self) -> int:
        """Of the program that started Ray, which leads the session."""
        return int(json.loads(self._state.read_text())["processes"][0]["pid"] or 0)

    def is_ready(self) -> bool:
        """Whether Ray runs."""
        return (
            self._state.exists() and json.loads(self._state.read_text())["processes"][0]["state"] == "ready"
        )


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    """Ray, ready, under a supervisor of its own."""
    temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's sockets need a short path
    one = Supervised(tmp_path, temporary)
    try:
        until(one.is_ready)
        yield one
    finally:
        one.process.send_signal(signal.SIGTERM)
        one.process.wait(60)
        shutil.rmtree(temporary, ignore_errors=True)


def test_ray_outlives_neither_its_driver_nor_its_supervisor(supervised: Supervised) -> None:
    """The agents that Ray itself would leave for seconds are gone before its successor
    starts; the raylet, its agents and the workers of that one end with a supervisor that
    was killed with -9.
    """
    first = supervised.pid
    assert len(session_members(first)) >= 6
    os.kill(first, signal.SIGKILL)
    until(lambda: supervised.is_ready() and supervised.pid != first)
    assert session_members(first) == []
    second = supervised.pid
    assert len(session_members(second)) >= 6
    supervised.process.kill()
    until(lambda: session_members(second) == [])
