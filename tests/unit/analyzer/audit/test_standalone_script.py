"""docs/concepts/audit_verify.py as somebody runs it who has an export and Python only."""

import dataclasses
import json
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events.audit import ChainAnchored
from services.analyzer.audit.domain.chain import DELETED, AuditRow, exported, replace_hash
from tests.support.analyzer.audit_fakes import chain
from tests.support.analyzer.recording import EPOCH

_SCRIPT = Path(__file__).resolve().parents[4] / "docs" / "concepts" / "audit_verify.py"
_ROWS = chain(9, holes=3)
_NAME = _ROWS[0].chain
_FIELDS = [one.name for one in dataclasses.fields(AuditRow)]


@dataclasses.dataclass
class _Ran:
    code: int
    said: str


def _anchor(position: int, digest: str = "") -> str:
    anchor = ChainAnchored(
        chain=_NAME,
        position=position,
        hash=digest or _ROWS[position].hash,
        rows=position + 1,
        anchored_at=EPOCH + timedelta(hours=1),
    )
    return anchor.model_dump_json()


def _prove(folder: Path, lines: Sequence[str], anchors: Sequence[str] = ()) -> _Ran:
    export, kept = folder / "export.jsonl", folder / "anchors.jsonl"
    export.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    kept.write_text("".join(f"{line}\n" for line in anchors), encoding="utf-8")
    arguments = [str(export), *([str(kept)] if anchors else [])]
    # -I -S: nothing of ours can be imported
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_SCRIPT), *arguments], capture_output=True, text=True, check=False
    )
    return _Ran(done.returncode, done.stdout + done.stderr)


def _prove_here(rows: Sequence[AuditRow], anchors: Sequence[str]) -> str:
    """The same in this process, where many are proven: what the script ends with."""
    with tempfile.TemporaryDirectory() as folder:
        export, kept = Path(folder, "export.jsonl"), Path(folder, "anchors.jsonl")
        export.write_text("".join(f"{line}\n" for line in _lines(rows)), encoding="utf-8")
        kept.write_text("".join(f"{line}\n" for line in anchors), encoding="utf-8")
        return _ended_by(export, kept)


def _ended_by(*arguments: Path) -> str:
    given_before, sys.argv = sys.argv, [str(_SCRIPT), *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(_SCRIPT), run_name="__main__")
    finally:
        sys.argv = given_before
    return str(ended.value.code or "")


def test_script_is_a_page_that_can_be_read() -> None:
    """Blank ones apart; none longer than a screen is wide."""
    lines = [one for one in _SCRIPT.read_text(encoding="utf-8").splitlines() if one.strip()]
    assert len(lines) <= 52
    assert max(map(len, lines)) <= 110


@settings(max_examples=150, deadline=None)
@given(
    place=st.integers(0, len(_ROWS) - 1),
    name=st.sampled_from(_FIELDS),
    rehash=st.booleans(),
    how=st.sampled_from(["altered", "taken away", "doubled", "moved"]),
)
def test_any_tampering_with_any_single_row_is_found(place: int, name: str, rehash: bool, how: str) -> None:  # noqa: FBT001
    """Altered in any field, with a right hash of its own or not, taken away, doubled, put
    somewhere else: the place is named.
    """
    row, rows = _ROWS[place], list(_ROWS)
    if how == "altered":
        forged = dataclasses.replace(row, **{name: _other(getattr(row, name))})
        rows[place] = replace_hash(forged) if rehash and name != "hash" else forged
    elif how == "doubled":
        rows.insert(place, row)
    else:
        del rows[place]
    if how == "moved":
        rows.insert((place + 4) % len(_ROWS), row)
    found = re.search(r"BROKEN at position (\d+): \w+", _prove_here(rows, [_anchor(len(_ROWS) - 1)]))
    assert found is not None
    assert int(found[1]) in {place, place + 1, (place + 4) % len(_ROWS), *([0] if name == "chain" else [])}
    assert _prove_here(_ROWS, [_anchor(len(_ROWS) - 1)]) == ""


def _lines(rows: Sequence[AuditRow]) -> list[str]:
    return [exported(row) for row in rows]


def _with(place: int, **changes: Any) -> list[AuditRow]:
    return [*_ROWS[:place], dataclasses.replace(_ROWS[place], **changes), *_ROWS[place + 1 :]]


def test_whole_export_is_proven(tmp_path: Path) -> None:
    """With the head's hash, what is anchored and what was erased."""
    rows = _with(4, actor_id=DELETED, address="", actor_salt="")
    ran = _prove(tmp_path, _lines(rows), [_anchor(2), _anchor(6)])
    assert ran == _Ran(0, f"{_NAME}: whole, 9 rows up to {_ROWS[-1].hash}; anchored: 7; erased: 1\n")


def _other(value: Any) -> Any:
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    return value + 1 if isinstance(value, int) else value - timedelta(milliseconds=1)


@pytest.mark.parametrize("name", _FIELDS)
def test_any_altered_field_is_found(tmp_path: Path, name: str) -> None:
    """Whichever it is; a text in place of a number too."""
    ran = _prove(tmp_path, _lines(_with(5, **{name: _other(getattr(_ROWS[5], name))})))
    assert (ran.code, "BROKEN at position" in ran.said) == (1, True), ran.said


_PLACES: dict[str, tuple[Callable[[list[str]], list[str]], int]] = {
    "taken away": (lambda lines: [*lines[:3], *lines[4:]], 3),
    "first taken away": (lambda lines: lines[1:], 0),
    "end cut off": (lambda lines: lines[:7], 7),
    "all taken away": (lambda _: [], 0),
    "swapped": (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], 2),
    "doubled": (lambda lines: [*lines[:5], lines[4], *lines[5:]], 5),
    "put in": (
        lambda lines: [
            *lines[:5],
            exported(replace_hash(dataclasses.replace(_ROWS[5], action="x"))),
            *lines[5:],
        ],
        6,
    ),
    "a field more": (lambda lines: [*lines[:1], lines[1][:-1] + ', "x": 1}', *lines[2:]], 1),
    "a number as text": (
        lambda lines: [*lines[:2], json.dumps(json.loads(lines[2]) | {"sequence": "2"}), *lines[3:]],
        2,
    ),
    "an offset as text": (
        lambda lines: [*lines[:2], json.dumps(json.loads(lines[2]) | {"offset": "2"}), *lines[3:]],
        2,
    ),
    "written anew": (lambda _: _lines(chain(9, holes=4)), 8),
}


@pytest.mark.parametrize("how", _PLACES)
def test_any_other_tampering_is_found_and_its_place_is_named(tmp_path: Path, how: str) -> None:
    """What nothing within a chain tells, an anchor does."""
    tamper, place = _PLACES[how]
    ran = _prove(tmp_path, tamper(_lines(_ROWS)), [_anchor(8)])
    assert (ran.code, f"BROKEN at position {place}" in ran.said) == (1, True), ran.said


def test_anchors_that_contradict_each_other_prove_nothing(tmp_path: Path) -> None:
    """One of them is forged, whichever."""
    ran = _prove(tmp_path, _lines(_ROWS), [_anchor(3), _anchor(3, "0" * 64)])
    assert (ran.code, "BROKEN at position 3" in ran.said) == (1, True)


def test_empty_export_proves_nothing(tmp_path: Path) -> None:
    """Nor does a script that was given none."""
    assert _prove(tmp_path, []) == _Ran(1, "there are no rows\n")
    done = subprocess.run([sys.executable, str(_SCRIPT)], capture_output=True, check=False)
    assert done.returncode == 1


_ODD: dict[str, bytes] = {
    "a list": b"[1]\n",
    "a number": b"5\n",
    "null": b"null\n",
    "no JSON": b"Tocsin's audit\n",
    "no text": b"\x9c\xff\n",
    "another encoding": '{"chain": "x"}\n'.encode("utf-16"),
    "a mark of order": b"\xef\xbb\xbf{}\n",
    "too deep": b"[" * 100_000 + b"\n",
    "too long a number": b'{"chain": ' + b"9" * 5000 + b"}\n",
    "a chain that is a list": b'{"chain": [1], "position": 0, "hash": "", "rows": 1}\n',
    "a place that is a text": b'{"chain": [1], "position": "0", "hash": "", "rows": 1}\n',
    "a blank line": b"\n",
}


@pytest.mark.parametrize("odd", _ODD)
def test_file_that_is_none_is_named_in_one_line(tmp_path: Path, odd: str) -> None:
    """As an export and as anchors, instead of a traceback."""
    file, export = tmp_path / "odd.jsonl", tmp_path / "export.jsonl"
    file.write_bytes(_ODD[odd])
    export.write_text("".join(f"{line}\n" for line in _lines(_ROWS)), encoding="utf-8")
    for arguments in ([file], [export, file], [tmp_path], [export, tmp_path / "none"]):
        said = _ended_by(*arguments)
        assert said.startswith(f"{arguments[-1]}"), said
        assert "\n" not in said


def test_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    """Another reader might take the forged value, which this one would not have seen."""
    lines = _lines(_ROWS)
    lines[4] = '{"action": "nothing.done", ' + lines[4][1:]
    ran = _prove(tmp_path, lines)
    assert (ran.code, "line 5" in ran.said) == (1, True), ran.said


@pytest.mark.parametrize("anchors", [[""], _lines(_ROWS)])
def test_anchors_that_are_none_prove_nothing(tmp_path: Path, anchors: list[str]) -> None:
    """A blank line, or the export itself in their place."""
    assert _prove(tmp_path, _lines(_ROWS), anchors).code == 1


def test_empty_file_of_anchors_proves_nothing(tmp_path: Path) -> None:
    """Whoever was given it would take the chain for anchored."""
    (tmp_path / "empty").touch()
    _prove(tmp_path, _lines(_ROWS))
    assert _ended_by(tmp_path / "export.jsonl", tmp_path / "empty").endswith("has no anchor")
