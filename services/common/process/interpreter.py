"""How this process's Python runs: when it collects garbage, and a limit of CPU time for
one call.
"""

import contextlib
import gc
import signal
import threading
from collections.abc import Iterator
from types import FrameType


def collect_less() -> None:
    """Keeps what exists now out of every later garbage collection, and collects less
    often.

    For the end of a process' start: its modules and settings stay for good, and to walk
    through them again and again costs a tenth of a request's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@contextlib.contextmanager
def cpu_limit(limit_s: float) -> Iterator[None]:
    """What runs within is left after so much CPU time of this process: a search by a
    regular expression that backtracks holds Python's lock, and with it an event loop,
    and cannot be left otherwise. Elsewhere than in the main thread, where Python takes
    no signals, nothing is limited.

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
