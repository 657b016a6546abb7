"""Ties the lives of processes together, so that none is left behind.

A supervised process leads a session of its own, and whatever it starts (Ray starts a
dozen) stays in that session even when its own parent dies. So three things hold
together: the kernel kills the process with its parent (`tie_to_parent`), the one
that sees it end kills what is left of its session (`kill_session`), and the orphan
reaper does so where the supervisor itself was killed.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

_PR_SET_PDEATHSIG = 1
_starter = ThreadPoolExecutor(1, "starter")  # its one thread stays until the interpreter ends


def tie_to_parent() -> Callable[[], None]:
    """A `preexec_fn` for subprocess: the kernel kills the child with the thread that
    started it (Linux; elsewhere it does nothing).

    So start children from a thread that lives as long as they should: the main one, or
    with `popen_tied`. An `exec` keeps the tie, a `fork` does not.
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


def popen_tied(
    command: Sequence[str], output: IO[bytes], *, cwd: Path, env: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Starts a process that dies with this one, whichever thread asks for it; in a
    process group of its own, so that a Ctrl-C does not reach it.
    """

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=tie,  # noqa: PLW1509 (it calls one system function, loaded before)
        )

    tie = tie_to_parent()
    return _starter.submit(start).result()


def session_members(session: int) -> list[int]:
    """The living processes of a session, by the id of the process that leads or led it."""
    return [pid for pid in psutil.pids() if _session_of(pid) == session and _lives(pid)]


def listens(session: int, port: int) -> bool:
    """Whether a process of the session is the one that listens on a port."""
    return any(process_listens(pid, port) for pid in session_members(session))


def process_listens(pid: int, port: int) -> bool:
    """Whether this very process listens on a port."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)


def kill_session(session: int, timeout_s: float = 2.0) -> int:
    """Kills every process of a session and returns how many there were; those that
    appear meanwhile too.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + timeout_s
    while (members := session_members(session)) and time.monotonic() < deadline:
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed.update(members)
        time.sleep(0.005)
    return len(killed)


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
