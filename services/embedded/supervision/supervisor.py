"""Keeps a table of processes running: in order, watched, restarted, and stopped in the
reverse order with none left behind.
"""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from services.embedded.installation.child_environment import child_environment
from services.embedded.supervision.log_console import Console
from services.embedded.supervision.processes import ROOT, ManagedProcess, ProcessSpec, StartError, State

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TELL_EVERY_S = 15.0
Report = Callable[[str, list[dict[str, Any]]], None]
"""Takes the whole's state (starting, ready, stopping, stopped) and each process's,
whenever one of them changes.
"""


class Supervisor:
    """Runs the table until it is told to stop: SIGINT or SIGTERM drains, a second one
    kills.
    """

    def __init__(self, table: Sequence[ProcessSpec], console: Console, report: Report) -> None:
        self.ready = asyncio.Event()
        self._console = console
        self._report = report
        self._state = "starting"
        self._stop = asyncio.Event()
        self._processes = {spec.role: ManagedProcess(spec, self) for spec in table}
        self._sessions: set[int] = set()
        self._reaper: subprocess.Popen[bytes] | None = None
        self._error: StartError | None = None

    async def run(self) -> None:
        """Returns when everything has stopped.

        Raises:
            StartError: a required process never became ready; the others were stopped
                first.
        """
        self._take_signals()
        self._start_reaper()
        try:
            async with asyncio.TaskGroup() as group:
                for process in self._processes.values():
                    group.create_task(self._run_one(process))
                readiness = group.create_task(self._note_readiness())
                telling = group.create_task(self._tell_what_it_waits_for())
                await self._stop.wait()
                readiness.cancel()
                telling.cancel()
                await self._drain()
        finally:
            for process in self._processes.values():
                process.kill()
            self._enter("stopped")
            self._stop_reaper()
        if self._error:
            raise self._error

    def stop(self) -> None:
        """Begins to drain; asked for again, kills."""
        if self._stop.is_set():
            self._console.say("killing what is left")
            for process in self._processes.values():
                process.kill()
        self._stop.set()

    def announced(self) -> None:
        """Reports the state again, once connection.env is written."""
        self._report(self._state, self._describe())

    def heard(self, role: str, line: str) -> None:
        """A process wrote a line."""
        self._console.heard(role, line)

    def changed(self, process: ManagedProcess, note: str) -> None:
        """A process's state is another."""
        if note:
            self._console.say(f"{process.spec.role} {note}")
        self._report(self._state, self._describe())

    def began(self, session: int) -> None:
        """A process leads this session now."""
        self._sessions.add(session)
        self._notify_reaper(f"+{session}")

    def ended(self, session: int) -> None:
        """Nothing of this session is left."""
        self._sessions.discard(session)
        self._notify_reaper(f"-{session}")

    async def _run_one(self, process: ManagedProcess) -> None:
        if not await self._may_start(process):
            return
        try:
            await process.keep_running()
        except StartError as error:
            self._error = self._error or error
            self._stop.set()

    async def _may_start(self, process: ManagedProcess) -> bool:
        """Waits for those that must be ready before it; False if all is to stop first."""
        stop = asyncio.create_task(self._stop.wait())
        before = asyncio.create_task(self._have_been_ready(process.spec.after))
        try:
            await asyncio.wait({stop, before}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            before.cancel()
        return not self._stop.is_set()

    async def _have_been_ready(self, roles: Sequence[str]) -> bool:
        for role in roles:
            await self._processes[role].was_ready.wait()
        return True

    async def _note_readiness(self) -> None:
        await self._have_been_ready(
            [role for role, process in self._processes.items() if process.spec.required]
        )
        self._enter("ready")
        self.ready.set()

    async def _tell_what_it_waits_for(self) -> None:
        while not self.ready.is_set():
            await asyncio.sleep(_TELL_EVERY_S)
            waits = [process.waits() for process in self._processes.values() if process.spec.required]
            if any(waits):
                self._console.say(f"still starting: {', '.join(filter(None, waits))}")

    async def _drain(self) -> None:
        """Stops them from the table's end to its beginning; those of one kind together."""
        self._enter("stopping")
        for _, alike in itertools.groupby(
            reversed(self._processes.values()), key=lambda process: process.spec.kind
        ):
            await asyncio.gather(*(process.stop() for process in alike))

    def _enter(self, state: str) -> None:
        self._state = state
        self._report(state, self._describe())

    def _describe(self) -> list[dict[str, Any]]:
        return [
            {
                "role": process.spec.role,
                "pid": process.pid,
                "port": process.spec.port,
                "state": process.state.value,
                "restarts": process.restarts,
                "started": process.started,
            }
            for process in self._processes.values()
            if not (process.spec.once and process.state is State.DONE)
        ]

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started with nohup: to go on when the terminal closes
            loop.add_signal_handler(number, self.stop)

    def _start_reaper(self) -> None:
        command = [sys.executable, "-m", "services.embedded.supervision.orphan_reaper"]
        self._reaper = subprocess.Popen(
            command,
            bufsize=0,
            env=child_environment(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd=ROOT,
        )
        for session in self._sessions:
            self._notify_reaper(f"+{session}")

    def _notify_reaper(self, line: str) -> None:
        orphan_reaper = self._reaper
        if orphan_reaper is None or orphan_reaper.stdin is None:
            return
        try:
            orphan_reaper.stdin.write(f"{line}\n".encode())
        except OSError:  # it was killed: call another, which is told everything
            self._stop_reaper()
            self._start_reaper()

    def _stop_reaper(self, timeout_s: float = 5.0) -> None:
        orphan_reaper, self._reaper = self._reaper, None
        if orphan_reaper and orphan_reaper.stdin:
            orphan_reaper.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                orphan_reaper.wait(timeout_s)
