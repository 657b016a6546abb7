"""One readable log of all processes on standard output, and each process's own in a
file of its own.

The services write JSON lines; on the console each becomes one short line behind its
role. The files keep them as they came.
"""

import io
import json
import logging
import queue
import re
import sys
import threading
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

from services.embedded.supervision.routine_lines import is_routine

_FILE_BYTES, _OLD_FILES = 10 * 2**20, 2
_WAITING_LINES = 5_000
_CUT_AT = 1_000
_NOT_SHOWN = {"event", "level", "timestamp", "logger", "service", "exception", "stack"}
_RELAYED = re.compile(r"(\x1b\[\d+m)?\((\w+:)?(?P<worker>[^) ]+) pid=(?P<pid>\d+)\)(\x1b\[0m)? (?P<line>.*)")
_COLOURS = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")
_LEVEL_COLOURS = {"warning": "33", "error": "31", "critical": "31;1"}


class Console:
    """Where lines go.

    The screen has a thread and a bounded queue: a terminal that stands still loses
    lines (and says how many), and holds up nobody. Routine lines are shown only with
    `everything`.
    """

    def __init__(self, logs: Path, out: TextIO | None = None, *, everything: bool = False) -> None:
        self._logs = logs
        self._everything = everything
        # A terminal that knows only ASCII is shown what it can show; there may be none.
        self._out = out or sys.stdout or io.StringIO()
        if isinstance(self._out, io.TextIOWrapper):
            self._out.reconfigure(errors="backslashreplace")
        self._coloured = self._out.isatty()
        self._files: dict[str, RotatingFileHandler] = {}
        self._colours: dict[str, str] = {}
        self._lost = 0
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING_LINES)
        self._writer = threading.Thread(target=self._write, name="console", daemon=True)
        self._writer.start()

    def heard(self, role: str, line: str) -> None:
        """A process wrote this line."""
        self._file(role).handle(logging.makeLogRecord({"msg": line}))
        if self._everything or not is_routine(line):
            self._show(self._prefixed(role, condense(line, coloured=self._coloured)))

    def say(self, text: str) -> None:
        """What the supervisor itself has to tell."""
        self._file("supervisor").handle(
            logging.makeLogRecord({"msg": f"{datetime.now().astimezone():%Y-%m-%dT%H:%M:%S%z} {text}"})
        )
        self._show(self._prefixed("tocsin", text))

    def show(self, text: str) -> None:
        """The same for the person only: on the screen as it is, in no file."""
        self._show(text)

    def close(self) -> None:
        """Waits a moment for what is still to be shown."""
        try:
            self._lines.put(None, timeout=1)
        except queue.Full:
            return
        self._writer.join(timeout=2)
        for file in self._files.values():
            file.close()

    def _prefixed(self, role: str, text: str) -> str:
        clock = f"{datetime.now().astimezone():%H:%M:%S}"
        colour = self._colours.setdefault(role, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"{clock} {self._paint(f'{role:<12}', colour)} {text}"

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text

    def _show(self, line: str) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost += 1

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            if self._lost:
                lost, self._lost = self._lost, 0
                line = f"{line}\n… {lost} lines not shown; they are in {self._logs}"
            try:
                print(line, file=self._out, flush=True)
            except (OSError, ValueError):  # nobody reads any more: the files go on
                continue

    def _file(self, role: str) -> RotatingFileHandler:
        if role not in self._files:
            self._files[role] = RotatingFileHandler(
                self._logs / f"{role}.log", maxBytes=_FILE_BYTES, backupCount=_OLD_FILES, encoding="utf-8"
            )
        return self._files[role]


def condense(line: str, *, coloured: bool = False) -> str:
    """A structlog JSON line as `event key=value …`, its exception below; any other line
    as it is, cut at a thousand characters.

    What Ray passes on from its workers, `(ServeReplica:… pid=123) {…}`, is shortened
    likewise behind the worker's name.
    """
    if relayed := _RELAYED.match(line):
        return f"{relayed['worker']}[{relayed['pid']}] {condense(relayed['line'], coloured=coloured)}"
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict) or "event" not in entry:
        return _cut(line)
    level = str(entry.get("level", "info"))
    fields = " ".join(f"{name}={_brief(value)}" for name, value in entry.items() if name not in _NOT_SHOWN)
    text = _cut(
        " ".join(
            filter(None, (level.upper() if level in _LEVEL_COLOURS else "", str(entry["event"]), fields))
        )
    )
    if coloured and level in _LEVEL_COLOURS:
        text = f"\x1b[{_LEVEL_COLOURS[level]}m{text}\x1b[0m"
    return f"{text}\n{entry['exception']}" if entry.get("exception") else text


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return (
        json.dumps(text, ensure_ascii=False) if isinstance(value, str) and (not text or " " in text) else text
    )


def _cut(text: str) -> str:
    return text if len(text) <= _CUT_AT else f"{text[:_CUT_AT]} …"
