"""Lines that Ray writes whenever all is well, and that read like trouble or say nothing
to whoever runs Tocsin. The log files have them; the screen leaves them out.
"""

import re

_WORKER = r"(\x1b\[\d+m)?(\([^)]*\)(\x1b\[0m)? )?"
_ROUTINE = tuple(
    re.compile(_WORKER + one)
    for one in (
        # Serve's own log below a warning: deploying, scaling, stopping.
        r"(INFO|DEBUG) \d{4}-\d\d-\d\d \S+ \S.* -- ",
        # It is started in a thread; signals are the service's own.
        r"SIGTERM handler is not set because current thread is not the main thread",
        # The controller is killed once it has stopped everything.
        r"Task ServeController\.graceful_shutdown failed\. .* it was killed by `ray\.kill`",
    )
)


def is_routine(line: str) -> bool:
    """Whether a line, as a process wrote it, is one of these."""
    return any(one.match(line) for one in _ROUTINE)
