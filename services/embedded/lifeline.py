"""Ties a child process's life to its parent's: when the parent dies, however it dies, the child is killed."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def tie_to_parent() -> Callable[[], None]:
    """A `preexec_fn` for subprocess: the kernel kills the child with the thread that started it (Linux; elsewhere it does nothing).

    So start children from a thread that lives as long as they should: the main one. An `exec` keeps the tie, a `fork` of the child does not.
    """
    if sys.platform != "linux":
        return lambda: None
    # Loaded here, not in the child: between fork and exec hardly anything is safe.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the tie was made
            os.kill(os.getpid(), signal.SIGKILL)

    return tie
