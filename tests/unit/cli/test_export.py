"""What `tocsin export` refuses before and while it fetches."""

import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.analytics.exporting import Export, ExportBrokenOffError
from services.cli.app import app
from services.common.errors import ConfigError


def test_export_without_a_platform_says_how_to_name_one(tmp_path: Path) -> None:
    """Neither an installation nor an address and a key."""
    runner = CliRunner(env={"TOCSIN_HOME": str(tmp_path), "TOCSIN_API_KEY": "", "TOCSIN_URL": ""})
    answer = runner.invoke(app, ["export", "v_requests"])
    assert (answer.exit_code, "--url" in answer.stderr) == (2, True)


def _export(file: Path, *query: tuple[str, str], address: str = "http://127.0.0.1:1") -> Export:
    return Export(address, "tsn_k", "v_requests", list(query), "json", file, 0.0)


def _begin(folder: Path, *query: tuple[str, str]) -> Path:
    """What an export of three pages left that was interrupted; its state."""
    (folder / "rows.parts").mkdir()
    asked = ["http://127.0.0.1:1", "v_requests", *map(list, query)]
    state = folder / "rows.parts" / "state.json"
    state.write_text(json.dumps({"asked": asked, "cursor": "c", "done": False, "pages": 3, "rows": 9}))
    return state


class _Page(io.BytesIO):
    """An answer of one row, and no cursor: the last page."""

    def __init__(self) -> None:
        super().__init__(b"{}\n")
        self.headers: dict[str, str] = {}


def test_export_of_something_else_does_not_go_on_with_what_was_begun(tmp_path: Path) -> None:
    """It says what to do; --restart begins anew, and asks."""
    file = tmp_path / "rows"
    _begin(tmp_path, ("from", "2026-01-01"))
    with pytest.raises(ConfigError, match="--restart"):
        _export(file, ("from", "2026-02-01")).run(restart=False)
    with pytest.raises(ConfigError, match="no address"):  # so it asks
        _export(file, ("from", "2026-02-01"), address="ftp://example.org").run(restart=True)


@pytest.mark.parametrize("address", ["ftp://example.org", "example.org", "file:///etc/passwd?"])
def test_export_shows_the_key_to_no_other_kind_of_address(tmp_path: Path, address: str) -> None:
    """Only http and https."""
    with pytest.raises(ConfigError, match="no address"):
        _export(tmp_path / "rows", address=address).run(restart=False)


def test_export_overwrites_nothing(tmp_path: Path) -> None:
    """A file that is there stays as it is."""
    file = tmp_path / "rows"
    file.write_text("mine")
    with pytest.raises(ConfigError, match="there already"):
        _export(file).run(restart=True)
    assert file.read_text() == "mine"


def test_export_from_another_platform_does_not_go_on_with_what_was_begun(tmp_path: Path) -> None:
    """Whose cursors mean other rows."""
    _begin(tmp_path)
    with pytest.raises(ConfigError, match="--restart"):
        _export(tmp_path / "rows", address="http://127.0.0.1:2").run(restart=False)


def test_export_that_was_begun_anew_and_killed_is_not_gone_on_with_as_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first page lies over the other's."""

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("services.cli.analytics.exporting._OPENER.open", away)
    state = _begin(tmp_path)
    with pytest.raises(ExportBrokenOffError):
        _export(tmp_path / "rows").run(restart=True)
    assert not state.exists()


@pytest.mark.parametrize("full_at", [1, 2], ids=["the page", "the state"])
def test_full_disk_is_told_at_once_and_is_no_platform_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_at: int
) -> None:
    """With the file; the same command goes on once there is room."""
    synced, times = os.fsync, 0

    def full(file: int) -> None:
        nonlocal times
        times += 1
        if times == full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        synced(file)

    monkeypatch.setattr("services.cli.analytics.exporting._OPENER.open", lambda *_, **__: _Page())
    monkeypatch.setattr("services.cli.analytics.exporting.os.fsync", full)
    export = Export("http://127.0.0.1:1", "tsn_k", "v_requests", [], "json", tmp_path / "rows", 1000.0)
    with pytest.raises(ConfigError, match=r"rows\.parts/.*No space left"):
        export.run(restart=False)
    assert export.run(restart=False) == 0
    assert (tmp_path / "rows").read_text() == "{}\n"
