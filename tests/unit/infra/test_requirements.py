"""The locks: what `make lock` writes is the same each time."""

from pathlib import Path

import pytest

LOCKS = sorted((Path(__file__).resolve().parents[3] / "requirements").glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_lock_names_no_temporary_file(lock: Path) -> None:
    """A temporary name differs at each run: every line that names it would change."""
    assert "/tmp" not in lock.read_text()
