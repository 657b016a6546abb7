"""Notices that a process which somebody else's library started here has ended."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_LOOK_EVERY_S = 1.0


@contextlib.contextmanager
def ended_with(name: str, give_up: Callable[[], object], *, every_s: float = _LOOK_EVERY_S) -> Iterator[None]:
    """Calls `give_up` once a child process of this name has ended. On Linux; elsewhere
    nothing is noticed.

    A raylet that does not hear of its agent within 15 s, on a loaded machine, kills
    itself, and `ray.init` waits for it as long as Ray's patience was made to last.
    """
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(name, give_up, over, every_s), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(name: str, give_up: Callable[[], object], over: threading.Event, every_s: float) -> None:
    began = False
    while not over.wait(every_s):
        states = _states_of_children(name)
        began = began or bool(states)
        if began and not states - {"Z", "X"}:
            give_up()
            return


def _states_of_children(name: str) -> set[str]:
    """The states of this process's children of a name, as Linux tells them: Z is one that
    ended.
    """
    found = set()
    for children in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for pid in children.read_text().split():
                with contextlib.suppress(OSError):
                    head, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
                    if head.partition("(")[2] == name:
                        found.add(rest.split()[0])
    return found
