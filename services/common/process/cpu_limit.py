"""A limit of CPU time for one call that cannot be left otherwise: a search by a regular
expression that backtracks holds Python's lock, and with it an event loop, for as long
as it lasts.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def cpu_limit(limit_s: float) -> Iterator[None]:
    """What runs within is left after so much CPU time of this process. Elsewhere than in
    the main thread, where Python takes no signals, nothing is limited.

    Raises:
        TimeoutError: it took longer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _leave)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError("it took more CPU time than it may")
