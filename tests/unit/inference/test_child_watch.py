"""Whether a Ray that cannot start is noticed."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.inference.child_watch import ended_with

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of children so")


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A process called `rayling`, which ends with its standard input."""
    (tmp_path / "rayling").symlink_to("/bin/cat")
    return [str(tmp_path / "rayling")]


@pytest.mark.parametrize("reaped", [False, True])
def test_child_that_ends_is_noticed_and_only_then(command: list[str], *, reaped: bool) -> None:
    """Whether or not somebody asked how it ended; another one's end is none."""
    noticed = threading.Event()
    with (
        ended_with("rayling", noticed.set, every_s=0.01),
        subprocess.Popen(command, stdin=subprocess.PIPE) as child,
    ):
        subprocess.run(["/bin/true"], check=True)
        assert not noticed.wait(0.1)
        child.kill()
        if reaped:
            child.wait()
        assert noticed.wait(30)


def test_child_that_ends_later_is_nobodys_matter(command: list[str]) -> None:
    """Once Ray runs, Serve and the supervisor look after it."""
    noticed = threading.Event()
    with subprocess.Popen(command, stdin=subprocess.PIPE), ended_with("rayling", noticed.set, every_s=0.01):
        pass
    assert not noticed.is_set()


def test_nothing_is_given_up_before_there_is_a_child() -> None:
    """It takes a while until Ray starts one."""
    noticed = threading.Event()
    with ended_with("rayling", noticed.set, every_s=0.01):
        assert not noticed.wait(0.1)
