"""Which lines of Ray the screen leaves out."""

import io
from pathlib import Path

import pytest

from services.embedded.supervision.log_console import Console
from services.embedded.supervision.routine_lines import is_routine

CONTROLLER = "\x1b[36m(ServeController pid=2514)\x1b[0m INFO 2026-11-27 20:41:57,093 controller 2514 -- "
STOPPED = (
    "\x1b[33m(raylet)\x1b[0m Task ServeController.graceful_shutdown failed. There are infinite retries "
    "remaining, so the task will be retried. Error: The actor is dead because it was killed by `ray.kill`."
)
ROUTINE = [
    'INFO 2026-11-27 20:41:56,740 serve 1788 -- Started Serve in namespace "serve".',
    f"{CONTROLLER}Adding 2 replicas",
    "(ServeReplica:model:replica pid=7) INFO 2026-11-27 20:41:57,093 model_replica a1b2 -- Started",
    "SIGTERM handler is not set because current thread is not the main thread.",
    STOPPED,
]
TELLING = [
    "(ServeController pid=2514) WARNING 2026-11-27 20:41:57,093 controller 2514 -- Replica died",
    "ERROR 2026-11-27 20:41:56,740 serve 1788 -- Deployment failed",
    "(raylet) A worker died or was killed while executing a task",
    "(raylet) Task ServeController.graceful_shutdown failed. The node ran out of memory",
    "*** SIGSEGV received at time=1795812362 on cpu 0 ***",
    '{"event": "ready", "level": "info", "detail": "INFO 2026-11-27 20:41:56 serve 1 -- x"}',
    "INFO from a library of no known form",
]


@pytest.mark.parametrize("line", ROUTINE)
def test_routine_line_is_in_the_file_and_not_on_the_screen(line: str, tmp_path: Path) -> None:
    """Nothing is lost by it."""
    screen = io.StringIO()
    console = Console(tmp_path, screen)
    console.heard("inference", line)
    console.close()
    assert screen.getvalue() == ""
    assert (tmp_path / "inference.log").read_text() == f"{line}\n"


@pytest.mark.parametrize("line", ROUTINE)
def test_routine_line_while_debugging_is_on_the_screen(line: str, tmp_path: Path) -> None:
    """TOCSIN_LOG_LEVEL=debug shows everything."""
    screen = io.StringIO()
    console = Console(tmp_path, screen, everything=True)
    console.heard("inference", line)
    console.close()
    assert screen.getvalue() != ""


@pytest.mark.parametrize("line", TELLING)
def test_line_that_tells_something_is_no_routine(line: str) -> None:
    """Warnings, crashes, and whatever nobody knows."""
    assert not is_routine(line)
