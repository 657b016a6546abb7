"""`tocsin down`: stops an installation and waits for its end."""

import os
import signal
import time
from contextlib import suppress

from services.embedded.installation.home import Home

_DRAIN_TIMEOUT_S = 120.0
_KILL_TIMEOUT_S = 10.0


def down(home: Home | None = None) -> int:
    """Has the supervisor drain and stop everything; kills it where that takes too long.

    0 once nothing runs.
    """
    home = home or Home()
    if not home.is_locked():
        print(f"Nothing runs in {home.root}.")
        return 0
    pid = home.read_state().get("pid")
    for number, timeout_s in ((signal.SIGTERM, _DRAIN_TIMEOUT_S), (signal.SIGKILL, _KILL_TIMEOUT_S)):
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not home.is_locked():
                print("Tocsin is stopped.")
                return 0
            time.sleep(0.05)
    print(f"Tocsin (pid {pid}) does not stop.")
    return 1
