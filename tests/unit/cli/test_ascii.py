"""Commands on a terminal that knows only ASCII, or on none."""

import os
import subprocess
import sys
from pathlib import Path


def test_command_on_an_ascii_terminal_shows_what_it_can(tmp_path: Path) -> None:
    """A home with an accent is named with an escape, not with a traceback."""
    home = tmp_path / "é"
    environment = {**os.environ, "TOCSIN_HOME": str(home), "PYTHONIOENCODING": "ascii", "LC_ALL": "POSIX"}
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "status"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "\\xe9" in done.stdout
    assert done.stderr == ""
    assert done.returncode == 1
