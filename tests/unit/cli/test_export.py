"""What `tocsin export` refuses before and while it fetches."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.analytics.exporting import Export
from services.cli.app import app
from services.common.errors import ConfigError


def test_export_without_a_platform_says_how_to_name_one(tmp_path: Path) -> None:
    """Neither an installation nor an address and a key."""
    runner = CliRunner(env={"TOCSIN_HOME": str(tmp_path), "TOCSIN_API_KEY": "", "TOCSIN_URL": ""})
    answer = runner.invoke(app, ["export", "v_requests"])
    assert (answer.exit_code, "--url" in answer.stderr) == (2, True)


def _export(file: Path, *query: tuple[str, str], address: str = "http://127.0.0.1:1") -> Export:
    return Export(address, "tsn_k", "v_requests", list(query), "json", file, 0.0)


def test_export_of_something_else_does_not_go_on_with_what_was_begun(tmp_path: Path) -> None:
    """It says what to do; --restart begins anew, and asks."""
    file = tmp_path / "rows"
    (tmp_path / "rows.parts").mkdir()
    begun = {"asked": ["v_requests", ["from", "2026-01-01"]], "done": False, "pages": 3}
    (tmp_path / "rows.parts" / "state.json").write_text(json.dumps(begun))
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
