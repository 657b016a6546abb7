"""What the store's process may do at all: its own files and nothing else, whatever a
statement gets past the fences before.

On Linux by Landlock: no file but the data directory and the interpreter's own, no
program, no outgoing connection, no signal to another process, for this process and all
its threads, for good. The few calls are made by ctypes: the packages for it that were
looked at are unreleased (landlock 1.0.0.dev5) or months old with one author (py-landlock
0.1, landlockpy 0.2), and it is eighty lines. Where the kernel has no Landlock the store
runs without this wall and says so.
"""

import ctypes
import os
import struct
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_NO_NEW_PRIVILEGES = 38
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FOLDER, _REMOVE_FILE, _MAKE_FOLDER, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MAKE_LINK, _MOVE, _TRUNCATE = 1 << 12, 1 << 13, 1 << 14
_ALL_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_ALL_TCP = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11

# What libc and the engine read of the system: where the main thread's stack lies, how
# much memory there is. Without auxv the engine takes what lies behind the environment
# for it, finds the vDSO at a random address and, one start in some hundreds, crashes.
_SYSTEM_FILES = (
    *("/etc/ld.so.cache", "/sys/fs/cgroup", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node"),
    *(f"/proc/self/{name}" for name in ("auxv", "maps", "stat", "statm", "status", "cgroup", "mountinfo")),
)

READ = _READ_FILE | _READ_FOLDER
WRITE = (
    READ
    | _WRITE_FILE
    | _REMOVE_FOLDER
    | _REMOVE_FILE
    | _MAKE_FOLDER
    | _MAKE_FILE
    | _MAKE_LINK
    | _MOVE
    | _TRUNCATE
)
APPEND = _WRITE_FILE | _REMOVE_FILE | _MAKE_FILE | _TRUNCATE | _READ_FOLDER
"""Write, rotate and delete files, but read none."""
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


def confine(folder: Path) -> str:
    """Takes all other rights from this process; the data directory `folder` has been
    prepared. Call it before there are threads.

    Returns `landlock <version>`, or `none: ` and why not.
    """
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder / "tmp")
    if not sys.platform.startswith("linux"):
        return f"none: {sys.platform} has no Landlock"
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208  names are enough
        return "none: the process has threads already, which would keep their rights"
    try:
        return f"landlock {_restrict(_rights(folder))}"
    except OSError as error:
        return f"none: Landlock is not to be had ({error.strerror})"


def _rights(folder: Path) -> dict[Path, int]:
    code = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    libraries = [Path("/usr/lib"), Path("/lib"), Path("/lib64"), Path("/usr/share/zoneinfo")]
    services = Path(__file__).resolve().parents[3]
    # Where further packages lie; not the checkout itself, which may hold the home.
    further = {Path(entry).resolve() for entry in sys.path if entry} - {services.parent}
    code |= {path for path in further if not folder.parent.is_relative_to(path)}
    return {
        **dict.fromkeys([*code, *libraries, services, *map(Path, _SYSTEM_FILES)], READ),
        **dict.fromkeys([Path("/dev/null"), Path("/dev/urandom")], READ | _WRITE_FILE),
        folder: _READ_FOLDER,
        folder / "config": READ,
        folder / "data": WRITE,
        folder / "tmp": WRITE,
        folder / "user_files": READ,
        folder / "analysts": READ,
        folder / "audit": APPEND,
    }


def _restrict(rights: Mapping[Path, int]) -> int:
    """Applies them to the calling thread; the version of Landlock."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = _call(libc, _CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    handled = _ALL_FILE_RIGHTS[max(known for known in _ALL_FILE_RIGHTS if known <= version)]
    attributes = struct.pack(
        "=QQQ",
        handled,
        _ALL_TCP if version >= 4 else 0,
        _ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0,
    )[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = _call(libc, _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        _add_rules(libc, ruleset, rights.items(), handled)
        if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _call(libc, _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _add_rules(libc: ctypes.CDLL, ruleset: int, rights: Iterable[tuple[Path, int]], handled: int) -> None:
    for path, allowed in rights:
        if not path.exists():
            continue
        wanted = allowed & handled if path.is_dir() else allowed & handled & _OF_A_FILE
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            _call(libc, _ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", wanted, descriptor), 0)
        finally:
            os.close(descriptor)


def _call(libc: ctypes.CDLL, number: int, *arguments: object) -> int:
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
