"""Outlives a supervisor that was killed, just long enough to kill what it started.

    python -m services.embedded.supervision.orphan_reaper

reads from standard input the sessions that the supervisor has running, `+123` or `-123`
a line. The end of that input is the supervisor's end, however it came; what is still on
the list then is killed. It ignores signals, since those that end the supervisor are
meant to reach it through the pipe.
"""

import signal
import sys

from services.embedded.supervision.process_sessions import kill_session


def main() -> None:
    """Waits for the supervisor's end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    for line in sys.stdin:
        session = int(line[1:])
        if line.startswith("+"):
            sessions.add(session)
        else:
            sessions.discard(session)
    for session in sessions:
        kill_session(session)


if __name__ == "__main__":
    main()
