"""How a line of a service looks on the supervisor's console."""

import io
from pathlib import Path

import pytest

from services.embedded.supervision.log_console import Console, condense


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain text", "plain text"),
        (
            '{"event": "request_done", "level": "info", "timestamp": "2026", "status": 200}',
            "request_done status=200",
        ),
        (
            '{"event": "store_away", "level": "warning", "detail": "no route"}',
            'WARNING store_away detail="no route"',
        ),
        (
            '{"event": "failed", "level": "error", "exception": "Traceback\\n  boom"}',
            "ERROR failed\nTraceback\n  boom",
        ),
        ('{"no": "event"}', '{"no": "event"}'),
        ("[1, 2]", "[1, 2]"),
        ("[" * 100_000, "[" * 1000 + " …"),
        (
            '\x1b[36m(ServeReplica:m:replica pid=7)\x1b[0m {"event": "loaded", "s": 1}',
            "m:replica[7] loaded s=1",
        ),
        ("(raylet pid=7) plain", "raylet[7] plain"),
        ("(no worker)", "(no worker)"),
        ("x" * 2000, "x" * 1000 + " …"),
    ],
)
def test_condense_a_line_shows_event_and_fields_only(line: str, shown: str) -> None:
    """JSON of structlog becomes short; everything else stays as it is."""
    assert condense(line) == shown


def test_condense_on_a_terminal_colours_warnings() -> None:
    """What went wrong stands out."""
    assert condense('{"event": "x", "level": "error"}', coloured=True) == "\x1b[31mERROR x\x1b[0m"


def test_console_when_nobody_reads_goes_on_writing_files(tmp_path: Path) -> None:
    """A closed screen costs the log files nothing."""

    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    console = Console(tmp_path, Gone())
    console.heard("gateway", "one")
    console.heard("gateway", "two")
    console.close()
    assert (tmp_path / "gateway.log").read_text() == "one\ntwo\n"
