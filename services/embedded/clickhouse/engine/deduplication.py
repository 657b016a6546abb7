"""What a crash leaves in the tables' deduplication logs: blocks that are remembered and
not there.

The engine writes a block's id into its table's log, then moves the block's part into
place. Killed between the two, it drops every repeat of that block, which is in the
table never (ADR 20). So before the engine opens a directory, ids whose part is not
there are taken back; the repeat then finds nothing of the block, and is stored.

The log is ClickHouse's (MergeTreeDeduplicationLog.cpp), and only added to: a line says
`1` or `2` (added, dropped), the part's name and the block's id, with tabs between.
"""

import contextlib
import fcntl
import os
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from services.embedded.clickhouse.errors import StoreError

_PART = re.compile(r"(?P<partition>[^_]+)_(?P<first>\d+)_(?P<last>\d+)_\d+(?:_\d+)?")
_LOG = re.compile(r"deduplication_log_(\d+)\.txt")
_ADDED, _DROPPED = "1", "2"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A block that was remembered and is not there: its table's folder, its part and
    its id.
    """

    table: str
    part: str
    block: str


def forget_unfinished(data: Path) -> list[Unfinished]:
    """Takes back, in every table of a data directory that no engine has open, the ids
    of blocks that are not there; which they were. A crash here does no harm.

    Raises:
        StoreError: an engine has the directory open.
    """
    with _closed(data / "status"):
        return [one for logs in _logs(data) for one in _forget_in(logs)]


def unfinished(data: Path) -> set[Unfinished]:
    """The blocks that are remembered and not there, where an engine has the directory
    open: one that is being stored is among them for a moment.
    """
    return {
        one
        for logs in _logs(data)
        for one in _missing_in(logs, [line for path in _files(logs) for line in _lines(path)])
    }


def missing(lines: Iterable[str], parts: Iterable[str]) -> dict[str, str]:
    """The ids that the lines of a log remember, with the names of their parts, where
    none of `parts` is that part or was merged from it.

    Lines and names of a form that is not known are passed over.
    """
    remembered: dict[str, str] = {}
    for line in lines:
        match line.split("\t"):
            case [operation, part, block] if operation == _ADDED:
                remembered[block] = part
            case [operation, _, block] if operation == _DROPPED:
                remembered.pop(block, None)
    found = _Parts(parts)
    return {block: part for block, part in remembered.items() if found.lack(part)}


class _Parts:
    """Which blocks some parts hold: each those of a partition from a first to a last."""

    def __init__(self, names: Iterable[str]) -> None:
        spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for match in filter(None, map(_PART.fullmatch, names)):
            spans[match["partition"]].append((int(match["first"]), int(match["last"])))
        self._firsts: dict[str, list[int]] = {}
        self._lasts: dict[str, list[int]] = {}
        for partition, found in spans.items():
            found.sort()
            self._firsts[partition] = [first for first, _ in found]
            # The furthest that any span so far reaches: spans lie beside or in each
            # other.
            self._lasts[partition] = list(accumulate((last for _, last in found), max))

    def lack(self, name: str) -> bool:
        """Whether no part is this one or covers it."""
        match = _PART.fullmatch(name)
        if match is None:
            return False
        at = bisect_right(self._firsts.get(match["partition"], []), int(match["first"]))
        return at == 0 or self._lasts[match["partition"]][at - 1] < int(match["last"])


def _logs(data: Path) -> list[Path]:
    return sorted(data.glob("store/*/*/deduplication_logs"))


def _files(logs: Path) -> list[Path]:
    """A table's log, oldest part first."""
    numbered = ((_LOG.fullmatch(path.name), path) for path in logs.iterdir())
    return [path for _, path in sorted((int(match[1]), path) for match, path in numbered if match)]


def _lines(path: Path) -> list[str]:
    """The whole lines of a file, without what may follow."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _missing_in(logs: Path, lines: Iterable[str]) -> list[Unfinished]:
    with os.scandir(logs.parent) as entries:
        parts = [entry.name for entry in entries if entry.is_dir()]
    return [Unfinished(logs.parent.name, part, block) for block, part in missing(lines, parts).items()]


def _forget_in(logs: Path) -> list[Unfinished]:
    files = _files(logs)
    for path in files:
        _cut_off_rest(path)
    found = _missing_in(logs, [line for path in files for line in _lines(path)])
    if found:
        with files[-1].open("a", encoding="utf-8", newline="\n") as newest:
            newest.write("".join(f"{_DROPPED}\t{one.part}\t{one.block}\n" for one in found))
    return found


def _cut_off_rest(path: Path) -> None:
    """Takes away what a crash left of a last line: the engine would write the next one
    behind it, and read neither.
    """
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


@contextlib.contextmanager
def _closed(status: Path) -> Iterator[None]:
    """Holds the lock that an engine holds on its directory as long as it is open."""
    if not status.exists():
        yield
        return
    with status.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                76, "CANNOT_OPEN_FILE", f"{status.parent} is open in another process; end that one first"
            ) from error
        yield
