"""When a process that is not ready counts as getting on."""

import os
import subprocess
import sys
import time

from services.embedded.supervision.start_progress import StartProgress


def stalls(process: "subprocess.Popen[bytes]", patience_s: float, within_s: float) -> bool:
    """Whether it is found stalled within some time."""
    progress, deadline = StartProgress(patience_s), time.monotonic() + within_s
    while time.monotonic() < deadline:
        if progress.is_stalled(process.pid):
            return True
        time.sleep(0.02)
    return False


def test_progress_of_a_process_that_does_nothing_stalls_and_of_one_that_computes_does_not() -> None:
    """CPU time is progress, however little comes of it meanwhile."""
    idle, busy = (
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        for code in ("import time; time.sleep(600)", "while True: pass")
    )
    try:
        assert not stalls(busy, patience_s=2.0, within_s=6.0)
        assert stalls(idle, patience_s=2.0, within_s=60.0)
    finally:
        for process in (idle, busy):
            process.kill()
            process.wait()


def test_progress_by_lines_needs_new_ones() -> None:
    """The same complaint with another number is not news."""
    progress = StartProgress(0.5)
    deadline = time.monotonic() + 60
    number = 0
    while not progress.is_stalled(os.getpid() + 10_000_000):
        assert time.monotonic() < deadline
        progress.heard(f"try {number}: no Kafka")
        number += 1
        time.sleep(0.01)
    progress.heard("connected")
    assert not progress.is_stalled(os.getpid() + 10_000_000)
