"""The supervisor over small real processes: order, restarts, stopping, and that nothing
stays behind.
"""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.embedded.installation.ports import free_port
from services.embedded.supervision.log_console import Console
from services.embedded.supervision.processes import PortTakenError, ProcessSpec, StartError, http_probe
from services.embedded.supervision.supervisor import Supervisor

# A service in small: it notes in a journal when it starts and stops, answers /health
# and, like Ray, starts a process of its own process group.
FAKE = """
import http.server, os, signal, subprocess, sys
role, port, journal, *manners = sys.argv[1:]
def note(what):
    with open(journal, "a") as file:
        file.write(f"{what} {role}\\n")
def end(*_):
    note("stop")
    os._exit(0)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in manners else end)
note("start")
print("wrote a line", flush=True)
if "fails" in manners:
    print("NOTHING=1 is no setting", flush=True)
    sys.exit(int(manners[-1]))
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", journal], process_group=0)
http.server.HTTPServer(("127.0.0.1", int(port)), Answer).serve_forever()
"""


class Stage:
    """A folder with the fake's code and journal, and a table under construction."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal"
        self.journal.touch()
        self.program = folder / "fake.py"
        self.program.write_text(FAKE)
        self.logs = folder
        self.out = io.StringIO()
        self.reports: list[tuple[str, list[dict[str, Any]]]] = []

    def spec(self, role: str, *manners: str, after: tuple[str, ...] = (), **fields: Any) -> ProcessSpec:
        """A fake of this role."""
        port = free_port()
        argv = (sys.executable, str(self.program), role, str(port), str(self.journal), *manners)
        ready = http_probe(port, "/ready")
        return ProcessSpec(
            role, argv, port=port, ready=ready, alive=http_probe(port, "/health"), after=after, **fields
        )

    def notes(self) -> list[str]:
        """What the fakes wrote into the journal."""
        return self.journal.read_text().splitlines()

    def survivors(self) -> list[int]:
        """Every living process that was given this journal, whoever its parent is now."""
        return [one.pid for one in psutil.process_iter() if _is_given(one, str(self.journal))]

    def entry(self, role: str) -> dict[str, Any]:
        """What was last reported of a role."""
        return next(one for one in self.reports[-1][1] if one["role"] == role)

    def report(self, state: str, processes: list[dict[str, Any]]) -> None:
        """Keeps what the supervisor reports."""
        self.reports.append((state, processes))

    @asynccontextmanager
    async def running(self, *table: ProcessSpec) -> AsyncIterator[Supervisor]:
        """A supervisor that has everything ready; it is stopped at the end."""
        console = Console(self.logs, self.out)
        supervisor = Supervisor(table, console, self.report)
        task = asyncio.create_task(supervisor.run())
        try:
            async with asyncio.timeout(60):
                await supervisor.ready.wait()
            yield supervisor
        finally:
            supervisor.stop()
            await task
            console.close()


def _is_given(process: psutil.Process, journal: str) -> bool:
    try:
        return journal in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 (the condition lies in other processes)
            await asyncio.sleep(0.02)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """An empty stage."""
    return Stage(tmp_path)


async def test_supervisor_with_dependencies_starts_in_order_and_stops_in_reverse(stage: Stage) -> None:
    """What others need is ready before them and stopped after them."""
    table = [
        stage.spec("bus"),
        stage.spec("worker", after=("bus",)),
        stage.spec("door", after=("bus", "worker")),
    ]
    async with stage.running(*table):
        assert stage.notes() == ["start bus", "start worker", "start door"]
    assert stage.notes()[3:] == ["stop door", "stop worker", "stop bus"]
    assert stage.survivors() == []
    assert stage.reports[-1][0] == "stopped"


async def test_supervisor_with_a_step_runs_it_once_before_what_needs_it(stage: Stage) -> None:
    """A step that ended well counts as ready and is not started again."""
    step = ProcessSpec(
        "step", (sys.executable, str(stage.program), "step", "0", str(stage.journal), "fails", "0"), once=True
    )
    async with stage.running(step, stage.spec("door", after=("step",))):
        assert stage.notes() == ["start step", "start door"]


async def test_supervisor_when_a_process_is_killed_restarts_it_and_kills_what_it_had_started(
    stage: Stage,
) -> None:
    """A killed process has a successor at once, and its own children are gone before."""
    async with stage.running(stage.spec("door")):
        first = stage.entry("door")["pid"]
        [child] = [one.pid for one in psutil.Process(first).children()]
        os.kill(first, signal.SIGKILL)
        await until(lambda: stage.entry("door")["state"] == "ready" and stage.entry("door")["pid"] != first)
        assert stage.entry("door")["restarts"] == 1
        assert child not in stage.survivors()
    assert stage.survivors() == []


async def test_supervisor_when_a_process_keeps_dying_pauses_longer_each_time(stage: Stage) -> None:
    """The first restart is immediate, the next ones are not."""
    spec = stage.spec("door")
    async with stage.running(spec):
        for restarts in range(1, 4):
            os.kill(stage.entry("door")["pid"], signal.SIGKILL)
            await until(
                lambda count=restarts: (
                    stage.entry("door")["restarts"] == count and stage.entry("door")["state"] == "ready"
                )
            )
    said = (stage.logs / "supervisor.log").read_text().splitlines()
    restarts_said = [line.partition("starts again")[2] for line in said if "starts again" in line]
    assert restarts_said == ["", " in 0.2 s", " in 0.5 s"]


async def test_supervisor_with_a_wrong_setting_stops_all_and_shows_what_was_written(stage: Stage) -> None:
    """Exit status 2 before a process was ever ready ends the start with its own words."""
    bad = stage.spec("door", "fails", "2", after=("bus",))
    with pytest.raises(StartError, match=r"(?s)door did not start.*NOTHING=1 is no setting"):
        await Supervisor([stage.spec("bus"), bad], Console(stage.logs, stage.out), lambda *_: None).run()
    assert stage.notes() == ["start bus", "start door", "stop bus"]
    assert stage.survivors() == []


async def test_supervisor_when_another_program_answers_on_the_port_is_not_deceived(stage: Stage) -> None:
    """A port that was taken after it was chosen ends the start at once, and the other
    program's answers count for nothing.
    """
    spec = stage.spec("door")
    other = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, str(stage.program), "other", str(spec.port), str(stage.journal)]
    )
    try:
        assert spec.ready is not None
        while not await spec.ready():
            assert other.poll() is None
        with pytest.raises(PortTakenError, match=f"another program listens on its port {spec.port}"):
            await Supervisor([spec], Console(stage.logs, stage.out), stage.report).run()
        assert "ready" not in {process["state"] for _, processes in stage.reports for process in processes}
    finally:
        other.kill()
        other.wait()
        for pid in stage.survivors():
            os.kill(pid, signal.SIGKILL)


async def test_supervisor_with_a_process_that_does_nothing_gives_it_up_and_says_so(stage: Stage) -> None:
    """It is killed when nothing has happened for as long as one has patience, and after
    three tries the start ends.
    """
    idle = ProcessSpec(
        "idle",
        (sys.executable, "-S", "-c", "import time; time.sleep(600)", str(stage.journal)),
        port=free_port(),
        ready=http_probe(1, "/"),
        start_patience_s=0.5,
    )
    with pytest.raises(StartError, match="idle did not start"):
        await Supervisor([idle], Console(stage.logs, stage.out), stage.report).run()
    assert (stage.logs / "supervisor.log").read_text().count("did nothing for 0.5 s") == 3
    assert stage.survivors() == []


async def test_supervisor_with_a_slow_process_waits_as_long_as_it_gets_on(stage: Stage) -> None:
    """A start that takes many times its patience is no failure while it writes what it
    has not written before.
    """
    program = (
        "import sys, time\n"
        "for step in range(15):\n"
        "    print('x' * step, flush=True)\n"
        "    time.sleep(0.2)\n"
        f"sys.argv = ['fake', 'slow', sys.argv[1], {str(stage.journal)!r}]\n"
        f"exec(open({str(stage.program)!r}).read())"
    )
    port = free_port()
    slow = ProcessSpec(
        "slow",
        (sys.executable, "-c", program, str(port)),
        port=port,
        ready=http_probe(port, "/ready"),
        start_patience_s=1.0,
    )
    async with stage.running(slow):
        assert stage.entry("slow")["restarts"] == 0


async def test_supervisor_when_a_process_ignores_the_request_kills_it(stage: Stage) -> None:
    """One that does not stop within its timeout is killed, with what it had started."""
    async with stage.running(stage.spec("door", "stubborn", stop_timeout_s=0.2)):
        pass
    assert stage.survivors() == []


async def test_supervisor_when_told_a_second_time_kills_at_once(stage: Stage) -> None:
    """Whoever presses Ctrl-C twice does not want to wait for the drain."""
    async with stage.running(stage.spec("door", "stubborn", stop_timeout_s=600.0)) as supervisor:
        supervisor.stop()
        await until(lambda: stage.entry("door")["state"] == "stopping")
    assert stage.survivors() == []


async def test_supervisor_when_its_reaper_is_killed_starts_another(stage: Stage) -> None:
    """Somebody always waits for the supervisor's end."""
    async with stage.running(stage.spec("door")) as supervisor:
        orphan_reaper = supervisor._reaper
        assert orphan_reaper is not None
        orphan_reaper.kill()
        orphan_reaper.wait()
        os.kill(stage.entry("door")["pid"], signal.SIGKILL)
        await until(lambda: supervisor._reaper is not orphan_reaper)
        await until(lambda: stage.entry("door")["state"] == "ready")


async def test_console_shows_each_line_behind_its_role_and_keeps_it_in_a_file(stage: Stage) -> None:
    """What a process writes is on the screen and in its log."""
    async with stage.running(stage.spec("door")):
        pass
    assert (stage.logs / "door.log").read_text() == "wrote a line\n"
    assert any(
        line.split()[1:] == ["door", "wrote", "a", "line"] for line in stage.out.getvalue().splitlines()
    )


# The supervisor as a process of its own, so that it can be interrupted and killed.
DRIVER = """
import asyncio, json, sys
from pathlib import Path
from services.embedded.supervision.log_console import Console
from services.embedded.supervision.processes import ProcessSpec, http_probe
from services.embedded.supervision.supervisor import Supervisor
folder, table = Path(sys.argv[1]), json.loads(sys.argv[2])
specs = [ProcessSpec(role, tuple(argv), port=port, ready=http_probe(port, "/"), after=tuple(after))
         for role, argv, port, after in table]
def report(state, processes):
    (folder / "state").write_text(state)
asyncio.run(Supervisor(specs, Console(folder), report).run())
"""


@pytest.fixture
def driver(stage: Stage) -> "subprocess.Popen[bytes]":
    """A supervisor process with two services and their children, ready."""
    specs = [stage.spec("bus"), stage.spec("door", after=("bus",))]
    table = json.dumps([(spec.role, spec.argv, spec.port, spec.after) for spec in specs])
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(stage.logs), table],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (stage.logs / "state").exists() or (stage.logs / "state").read_text() != "ready":
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(stage.survivors()) == 4
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_supervisor_when_interrupted_drains_in_order_and_leaves_nothing(
    stage: Stage, driver: "subprocess.Popen[bytes]", number: signal.Signals
) -> None:
    """Ctrl-C, `tocsin down` and a closed terminal all end everything cleanly."""
    os.killpg(driver.pid, number)  # as a terminal does: to the whole group
    assert driver.wait(60) == 0
    assert stage.notes()[2:] == ["stop door", "stop bus"]
    assert stage.survivors() == []


async def test_supervisor_when_killed_leaves_nothing(stage: Stage, driver: "subprocess.Popen[bytes]") -> None:
    """A kill -9 of the supervisor takes its processes and their children along."""
    driver.kill()
    driver.wait()
    await until(lambda: stage.survivors() == [])
    assert len(stage.notes()) == 2  # nobody had the time to stop cleanly
