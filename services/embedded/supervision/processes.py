"""One supervised process: what it is (`ProcessSpec`, data) and its life
(`ManagedProcess`): started, watched, started again, stopped.
"""

import asyncio
import enum
import http.client
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from services.common.errors import TocsinError
from services.embedded.installation.child_environment import child_environment
from services.embedded.installation.ports import LOOPBACK, is_listening
from services.embedded.supervision.log_console import condense
from services.embedded.supervision.process_sessions import kill_session, listens, tie_to_parent
from services.embedded.supervision.routine_lines import is_routine
from services.embedded.supervision.start_progress import StartProgress

ROOT = Path(__file__).parents[3]
"""Where `python -m services.…` finds the services, and they their files."""
_PROBE_EVERY_S = 0.1  # until it is ready
_WATCH_EVERY_S = 2.0  # from then on
_PROBE_TIMEOUT_S = 5.0
_STABLE_AFTER_S = 5.0
_TRIES = 3  # to get ready at all
_BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_WRONG_SETTING = 2  # a service's exit status when a setting is wrong: another try would end the same way
_LAST_WORDS_S = 0.2
_STOP_STARTING_S = 5.0
_LINE_LIMIT = 64 * 1024
_SHOWN = 120

Probe = Callable[[], Awaitable[bool]]
_prober = ThreadPoolExecutor(8, "probe")


class State(enum.StrEnum):
    """Where a process stands."""

    WAITING = "waiting"  # for those that must be ready before it
    STARTING = "starting"
    READY = "ready"
    UNRESPONSIVE = "unresponsive"
    RESTARTING = "restarting"  # after the back-off's pause
    STOPPING = "stopping"
    STOPPED = "stopped"
    DONE = "done"  # a step that ended well
    FAILED = "failed"


@dataclass(frozen=True)
class ProcessSpec:
    """A line of the supervisor's table.

    `after` names the roles that must be ready (or done) first. A `once` process is a
    step, which ends by itself. One that is not `required` holds nobody up.
    `start_patience_s`: how long nothing may happen before it is ready.
    """

    role: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    host: str = LOOPBACK
    ready: Probe | None = None
    alive: Probe | None = None
    after: tuple[str, ...] = ()
    once: bool = False
    required: bool = True
    start_patience_s: float = 120.0
    stop_timeout_s: float = 30.0
    hung_after_s: float = 60.0

    @property
    def kind(self) -> str:
        """The role without its number: those of one kind are stopped together."""
        return self.role.split("-", maxsplit=1)[0]


class StartError(TocsinError):
    """A process did not become ready; the message says which and shows the end of what
    it wrote.
    """


class PortTakenError(StartError):
    """Somebody else listens where the process wanted to; with another port it may
    start.
    """


class Surroundings(Protocol):
    """What a managed process tells its supervisor."""

    def heard(self, role: str, line: str) -> None:
        """It wrote a line."""

    def changed(self, process: "ManagedProcess", note: str) -> None:
        """Its state is another."""

    def began(self, session: int) -> None:
        """A session of this id runs."""

    def ended(self, session: int) -> None:
        """Nothing of that session is left."""


class ManagedProcess:
    """A process kept running: started again at once when it dies, then with growing
    pauses if it keeps dying.
    """

    def __init__(self, spec: ProcessSpec, surroundings: Surroundings) -> None:
        self.spec = spec
        self.state = State.WAITING
        self.pid: int | None = None
        self.restarts = 0
        self.started: float | None = None
        """When the process of `pid` began, seconds since 1970."""
        self.was_ready = asyncio.Event()
        self._surroundings = surroundings
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._last_lines: deque[str] = deque(maxlen=20)
        self._failures = 0
        self._progress = StartProgress(spec.start_patience_s)

    async def keep_running(self) -> None:
        """Returns when it was stopped or, as a step, is done.

        Raises:
            StartError: it kept dying, or did nothing, before it ever was ready, or it
                ended with the status of a wrong setting.
            PortTakenError: it ended before it ever was ready, and another program
                listens on its port.
        """
        started = time.monotonic()
        while not self._stopping.is_set():
            status = await self._live_once()
            if self._stopping.is_set():
                break
            if self.spec.once and status == 0:
                self._enter(State.DONE)
                self.was_ready.set()
                return
            if (
                not self.was_ready.is_set()
                and self.spec.port
                and await in_thread(is_listening, self.spec.port, self.spec.host)
            ):
                raise PortTakenError(
                    f"{self.spec.role} did not start: another program listens on its port {self.spec.port}."
                )
            if not self.was_ready.is_set() and self._gives_up(status, started):
                self._enter(State.FAILED, f"ended with {_describe(status)}")
                if self.spec.required:
                    raise StartError(
                        f"{self.spec.role} did not start ({_describe(status)}). The last that it wrote:\n"
                        + "\n".join(map(condense, self._last_lines))
                    )
                return
            await self._pause(status)
        self._enter(State.STOPPED)

    def waits(self) -> str:
        """What it is doing while it is not ready, for the person who waits; empty once
        it is.
        """
        if self.was_ready.is_set():
            return ""
        if self.started is None:
            return f"{self.spec.role} (waits for {', '.join(self.spec.after)})"
        said = next((line for line in reversed(self._last_lines) if not is_routine(line)), "")
        last = f": {condense(said)[:_SHOWN]}" if said else ""
        return f"{self.spec.role} ({self.state.value} for {time.time() - self.started:.0f} s{last})"

    def _gives_up(self, status: int, started: float) -> bool:
        return (
            status == _WRONG_SETTING
            or not self.spec.required
            or (self._failures + 1 >= _TRIES and time.monotonic() > started + self.spec.start_patience_s)
        )

    async def stop(self) -> None:
        """Asks it to end (SIGTERM), waits for its stop timeout, then kills it and
        whatever it had started.
        """
        self._stopping.set()
        if self._process is None or self.pid is None:
            return
        self._enter(State.STOPPING)
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        # What was never ready has nothing to finish.
        timeout_s = (
            self.spec.stop_timeout_s
            if self.was_ready.is_set()
            else min(self.spec.stop_timeout_s, _STOP_STARTING_S)
        )
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            self._surroundings.changed(self, f"did not stop within {timeout_s:g} s: killed")
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """Kills it and whatever it had started."""
        self._stopping.set()
        if self.pid:
            kill_session(self.pid)

    async def _live_once(self) -> int:
        """One life, from start to end; its exit status, negative for a signal."""
        self._progress = StartProgress(self.spec.start_patience_s)
        process, output = await self._start()
        session = process.pid
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(output))
                watching = group.create_task(self._watch(session))
                if self._stopping.is_set():  # it was told to stop while it was being started
                    kill_session(session)
                status = await process.wait()
                watching.cancel()
                kill_session(session)
                # With all of the session dead the pipe ends at once, unless something
                # left the session with it.
                await asyncio.wait({reading}, timeout=_LAST_WORDS_S)
                reading.cancel()
        finally:
            kill_session(session)
            self._surroundings.ended(session)
            self.pid = None
        return status

    async def _start(self) -> tuple[asyncio.subprocess.Process, int]:
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                env=child_environment(os.environ, self.spec.env, self.spec.kind),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
                preexec_fn=tie_to_parent(),
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._process, self.pid, self.started = process, process.pid, time.time()
        self._surroundings.began(process.pid)
        self._enter(State.STARTING, f"started, pid {process.pid}")
        return process, reading

    async def _read(self, pipe: int) -> None:
        """Passes on what it writes, line by line; a line without end is cut."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb")
        )
        rest = b""
        try:
            while chunk := await reader.read(_LINE_LIMIT):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _LINE_LIMIT:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._hear(line)
            if rest:
                self._hear(rest)
        finally:
            transport.close()

    def _hear(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        self._last_lines.append(text)
        self._progress.heard(text)
        self._surroundings.heard(self.spec.role, text)

    async def _watch(self, session: int) -> None:
        """Notes when it is ready, and later whether it still answers; kills it where it
        neither gets ready nor gets on, and where it no longer answers.
        """
        begun = time.monotonic()
        while self.spec.once or not await self._is_ready():
            if await in_thread(self._progress.is_stalled, session):
                self._surroundings.changed(
                    self, f"did nothing for {self.spec.start_patience_s:g} s and is not ready: killed"
                )
                self._kill_this_life()
                return
            await asyncio.sleep(_PROBE_EVERY_S)
        self._enter(State.READY, f"ready after {time.monotonic() - begun:.1f} s")
        self.was_ready.set()
        await self._watch_ready()

    async def _is_ready(self) -> bool:
        """Whether it answers, and it is this process that answers and not another
        program on the same port.
        """
        if self.spec.ready is None:
            return True
        if not await _holds(self.spec.ready) or self.pid is None:
            return False
        return self.spec.port is None or await in_thread(listens, self.pid, self.spec.port)

    async def _watch_ready(self) -> None:
        answered = ready_since = time.monotonic()
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            now = time.monotonic()
            if now - ready_since > _STABLE_AFTER_S:
                self._failures = 0
            if self.spec.alive is None or await _holds(self.spec.alive):
                answered = now
                self._enter(State.READY)
            elif now - answered > self.spec.hung_after_s:
                self._surroundings.changed(self, f"has not answered for {now - answered:.0f} s: killed")
                self._kill_this_life()
                return
            else:
                self._enter(State.UNRESPONSIVE)

    def _kill_this_life(self) -> None:
        if self.pid:
            kill_session(self.pid)

    async def _pause(self, status: int) -> None:
        pause = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
        self._failures += 1
        self.restarts += 1
        self._enter(
            State.RESTARTING,
            f"ended with {_describe(status)}, starts again" + (f" in {pause:g} s" if pause else ""),
        )
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause)

    def _enter(self, state: State, note: str = "") -> None:
        if state == self.state and not note:
            return
        self.state = state
        self._surroundings.changed(self, note)


def http_probe(port: int, path: str, host: str = LOOPBACK) -> Probe:
    """Whether a GET is answered with 200."""
    return lambda: in_thread(answers, port, path, host)


async def in_thread(look: Callable[..., bool], *arguments: Any) -> bool:
    """Awaits a probe that blocks."""
    return await asyncio.get_running_loop().run_in_executor(_prober, look, *arguments)


def answers(port: int, path: str, host: str = LOOPBACK) -> bool:
    """The same at once, for callers without an event loop."""
    connection = http.client.HTTPConnection(host, port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


async def _holds(probe: Probe) -> bool:
    try:
        return await asyncio.wait_for(probe(), _PROBE_TIMEOUT_S)
    except TimeoutError:
        return False


def _describe(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
