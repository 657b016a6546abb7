"""The two limits of the tree (CONTRIBUTING): siblings in a folder, lines in a file."""

import subprocess
from collections import defaultdict
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[3]
SIBLINGS = 12
LINES = 400

# Folders whose entries follow from a list kept elsewhere, or are one numbered sequence.
COUNTED_ELSEWHERE = {
    ".": "the usual files of a repository",
    "docs/adr": "one a decision, numbered",
    "infra/clickhouse": "one a migration, numbered",
    "schemas/examples": "one a topic",
    "schemas/jsonschema": "one a topic",
}


def tracked_files() -> list[str]:
    """Every path that git tracks and that is there."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip(f"no git checkout here: {listed.stderr.strip()}")
    return [path for path in listed.stdout.split("\0") if path and (ROOT / path).exists()]


def crowded(paths: list[str]) -> dict[str, int]:
    """Folders with more than twelve files and folders in them, `__init__.py` apart."""
    entries: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        for part in (PurePosixPath(path), *PurePosixPath(path).parents):
            if part.name not in ("", "__init__.py"):
                entries[str(part.parent)].add(part.name)
    return {
        folder: len(names)
        for folder, names in entries.items()
        if len(names) > SIBLINGS and folder not in COUNTED_ELSEWHERE
    }


def long_files(lines: dict[str, int]) -> dict[str, int]:
    """Files with more than 400 lines."""
    return {path: count for path, count in lines.items() if count > LINES}


def test_folders_hold_twelve_siblings_at_most() -> None:
    """A thirteenth file wants a room with a name: docs/adr/0004-rooms-and-names.md."""
    assert crowded(tracked_files()) == {}


def test_python_files_have_four_hundred_lines_at_most() -> None:
    """A longer one has a seam somewhere."""
    python = [path for path in tracked_files() if path.endswith(".py")]
    assert long_files({path: len((ROOT / path).read_text().splitlines()) for path in python}) == {}


def test_limits_are_counted_as_they_are_meant() -> None:
    """The thirteenth counts, a folder counts as a file does, `__init__.py` does not."""
    twelve = [f"a/{number}.py" for number in range(11)] + ["a/b/deep/c.py", "a/__init__.py"]
    assert crowded(twelve) == {}
    assert crowded([*twelve, "a/12.py"]) == {"a": 13}
    assert long_files({"x.py": 400, "y.py": 401}) == {"y.py": 401}


def test_exempt_folders_are_still_there() -> None:
    """An exemption whose folder is gone would be forgotten."""
    folders = {str(parent) for path in tracked_files() for parent in PurePosixPath(path).parents}
    assert set(COUNTED_ELSEWHERE) <= folders
