"""How this process's Python runs: when it collects garbage, and a limit of CPU time for
one call.
"""

import gc
import signal
import threading
from functools import lru_cache
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


class cpu_limit:  # noqa: N801  (used as functions are)
    """What runs within is left after so much CPU time of this process: a search by a
    regular expression that backtracks holds Python's lock, and with it an event loop,
    and cannot be left otherwise. Elsewhere than in the main thread, where Python takes
    no signals, nothing is limited.

    Raises:
        TimeoutError: it took longer.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            _take_signal()
            signal.setitimer(signal.ITIMER_VIRTUAL, self._limit_s)

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)


@lru_cache(1)
def _take_signal() -> None:
    """Once: the signal comes from nothing else, and to set a handler takes longer than
    reading a short text.
    """
    signal.signal(signal.SIGVTALRM, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError("it took more CPU time than it may")
