"""The commands, put together."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from schemas.control import Scope
from services.cli.app import app
from services.cli.control.scopes import ScopeName, split_scopes


def test_help_of_every_group_is_shown() -> None:
    """Each group and each of its commands."""
    groups = ["", "keys", "users", "policies", "tenants", "models", "dlq"]
    texts = [CliRunner().invoke(app, [*filter(None, [group]), "--help"]) for group in groups]
    assert [one.exit_code for one in texts] == [0] * len(groups)
    for command in ("up", "down", "status", "demo", "topics", "migrate", "doctor", *groups):
        assert command in texts[0].output
    for command in ("create", "list", "scopes", "revoke", "purge"):
        assert command in texts[1].output
    for command in ("list", "get", "delete", "restore", "purge"):
        assert command in texts[2].output
        assert command in texts[3].output


def test_help_imports_no_service_nor_driver() -> None:
    """It answers at once: what a command needs is imported when it is called."""
    script = "import sys, services.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    heavy = {
        "pydantic",
        "aiokafka",
        "structlog",
        "services.common.process.settings",
        "services.embedded.installation.up",
    }
    assert not heavy & set(loaded.split())


def test_scopes_of_the_command_are_those_of_the_schema() -> None:
    """Written twice, since the schema takes long to import."""
    assert {one.value for one in ScopeName} == {one.value for one in Scope}


@pytest.mark.parametrize("given", [["read", "infer"], ["read, infer"], ["read,", "infer,read"]])
def test_scopes_are_named_one_by_one_or_by_commas(given: list[str]) -> None:
    """Each once."""
    assert split_scopes(given) == ["read", "infer"]


def test_scope_that_there_is_none_of_is_refused_by_name() -> None:
    """A typo gives no key other rights."""
    with pytest.raises(typer.BadParameter, match=r"'reed' is no scope; there are infer, .*platform"):
        split_scopes(["infer,reed"])
