"""What `tocsin audit` makes of files and options, without a bus or a store."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from schemas.events.audit import ChainAnchored
from services.analyzer.audit.domain.verification import Break, Fault
from services.analyzer.audit.examination import Examined
from services.cli.app import app
from services.cli.compliance.verification import _line, anchors_in
from services.common.errors import ConfigError

_ANCHOR = ChainAnchored(
    chain="audit.entries.v1/0",
    position=4,
    hash="a" * 64,
    rows=5,
    anchored_at=datetime(2026, 11, 27, 12, tzinfo=UTC),
)


def test_anchors_are_read_from_either_form_and_other_lines_of_a_log_are_passed_over(tmp_path: Path) -> None:
    """The command's output, and the analyzer's log."""
    logged = {"event": "audit_anchored", "level": "info", **_ANCHOR.model_dump(mode="json")}
    file = tmp_path / "kept"
    other = json.dumps({"event": "request_served", "path": "a\u2028b"}, ensure_ascii=False)
    file.write_text("\n".join([_ANCHOR.model_dump_json(), "", other, json.dumps(logged)]), encoding="utf-8")
    assert anchors_in(file) == [_ANCHOR, _ANCHOR]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no anchor"),
        ('{"event": "other"}\n', "has no anchor"),
        ("nonsense\n", "line 1 is no anchor"),
        ("[" * 100_000 + "\n", "line 1 is no anchor"),
        (_ANCHOR.model_dump_json() + "\n[1]\n", "line 2 is no anchor"),
        (_ANCHOR.model_dump_json().replace('"position":4', '"position":-1'), "line 1 is no anchor"),
        (_ANCHOR.model_dump_json().replace("a" * 64, "a" * 63), "line 1 is no anchor"),
    ],
)
def test_file_that_is_none_of_anchors_is_no_proof(tmp_path: Path, text: str, said: str) -> None:
    """A slip in its name must not pass for a proof."""
    file = tmp_path / "kept"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        anchors_in(file)


def test_file_of_anchors_that_is_not_there_is_said_with_the_status_2(tmp_path: Path) -> None:
    """As a wrong option is."""
    done = CliRunner().invoke(app, ["audit", "verify", "--offline", "--anchors", str(tmp_path / "none")])
    assert (done.exit_code, "cannot be read" in done.stderr) == (2, True)


def test_listing_with_a_time_without_offset_names_the_option() -> None:
    """Before anything is asked of a store."""
    done = CliRunner().invoke(app, ["audit", "list", "--since", "2026-11-27T12:00:00", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stderr)["errors"][0]["field"] == "since"


@pytest.mark.parametrize("action", ["nonsense", "key.nonsense", ".created", "tenant."])
def test_listing_of_an_action_that_there_is_not_says_which_there_are(action: str) -> None:
    """Rather than find nothing, as the route does."""
    done = CliRunner().invoke(app, ["audit", "list", "--action", action, "--json"])
    assert done.exit_code == 1
    [error] = json.loads(done.stderr)["errors"]
    assert error["field"] == "action"
    assert "such as key.created" in str(error)


def test_line_names_the_broken_row_or_what_holds() -> None:
    """And what is not proven."""
    whole = Examined("a/0", 7, "f" * 64, 1, 5, 4, 2, None)
    told = "anchored: 5; compared with the bus: 4; still to be chained: 2; erased: 1"
    assert _line(whole) == f"a/0: whole, 7 rows up to {'f' * 64}; {told}"
    assert "none is anchored" in _line(Examined("a/0", 7, "f" * 64, 0, 0, None, 0, None))
    broken = Examined("a/0", 3, "f" * 64, 0, 0, None, 0, Break(3, Fault.ALTERED, "it lies"))
    assert _line(broken) == "a/0: BROKEN at position 3 (altered): it lies. The 3 rows before it are whole."
    assert broken.as_json()["first_break"] == {"position": 3, "fault": "altered", "explanation": "it lies"}


def test_anchor_of_no_row_is_none() -> None:
    """A negative place, or a hash of another length."""
    with pytest.raises(ValidationError):
        ChainAnchored(**(_ANCHOR.model_dump() | {"position": -1}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "must be a JSON object"),
        ("{" * 3, "cannot be read"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "cannot be read"),
        ('{"state": "erased", "state": "complete"}', "a name comes twice"),
        ('{"stores": [{"left": 0, "left": 5}]}', "a name comes twice"),
    ],
)
def test_file_that_is_no_receipt_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    """A reader who takes the first of two values would see what was never signed."""
    file = tmp_path / "receipt.json"
    file.write_text(text)
    done = CliRunner().invoke(app, ["privacy", "verify", str(file), "--key", "00" * 32])
    assert (done.exit_code, said in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr
