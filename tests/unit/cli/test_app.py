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
    kinds = ["keys", "tenants", "users", "budgets", "models", "routes", "thresholds", "policies"]
    groups = ["", *kinds, "dlq"]
    texts = {one: CliRunner().invoke(app, [*filter(None, [one]), "--help"]) for one in groups}
    assert {one.exit_code for one in texts.values()} == {0}
    for command in ("up", "down", "status", "demo", "topics", "migrate", "doctor", "costs", *groups):
        assert command in texts[""].output
    for kind in kinds:
        for command in ("list", "show", "create", "set", "delete", "restore", "purge"):
            assert f" {command} " in texts[kind].output, (kind, command)
    for kind, further in (("keys", "rotate revoke scopes"), ("tenants", "suspend resume")):
        assert all(f" {command} " in texts[kind].output for command in further.split())


def test_every_command_of_control_state_has_json() -> None:
    """A program reads each answer."""
    for group in app.registered_groups:
        if group.name == "dlq" or group.typer_instance is None:
            continue
        for command in group.typer_instance.registered_commands:
            name = command.name or getattr(command.callback, "__name__", "")
            shown = CliRunner().invoke(app, [str(group.name), name, "--help"])
            assert "--json" in shown.output, (group.name, name)


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


@pytest.mark.parametrize(
    "given",
    [
        "keys set abcdefgh --expires-in-days 1e7",
        "keys create --name n --expires-in-days inf",
        "keys create --name n --expires-in-days nan",
        "keys rotate abcdefgh --overlap-hours 1e300",
        "keys rotate abcdefgh --overlap-hours 721",
        "keys rotate abcdefgh --overlap-hours NaN",
        f"tenants set acme --requests-per-minute {'9' * 5000}",
        "thresholds set acme --requests-per-hour=",
        "thresholds set acme --requests-per-hour=100,50",
        "policies set acme --inspection-ms=",
        "policies set acme --inspection-ms=soon",
        "users set jo --scope=",
        "keys scopes abcdefgh --scope=,",
    ],
)
def test_value_that_no_entry_can_have_is_refused_by_its_option(given: str) -> None:
    """Before anything is asked of the bus; nothing is left out silently."""
    refused = CliRunner().invoke(app, given.split())
    assert (refused.exit_code, "Invalid value" in refused.output) == (2, True)
    assert len(refused.output) < 1500


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("tenants create x --share 1,5", "use a point before the decimals, 1.5"),
        ("keys create --name x --expires-in-days trente", "use a number such as 20.50"),
        ("thresholds set acme --low 1,5", "use a point before the decimals, 1.5"),
        ("policies set acme --retention-days 1,5", "use a whole number such as 20"),
        ("costs --days 0", "use a value greater than or equal to 1"),
    ],
)
def test_option_of_a_wrong_form_is_told_what_to_write(command: str, told: str) -> None:
    """In our words, not in those of the library that reads it, and with the value."""
    shown = CliRunner().invoke(app, command.split())
    assert shown.exit_code == 2
    text = " ".join(shown.output.replace("│", " ").split())
    assert told in text
    assert f'it is "{command.rsplit(maxsplit=1)[-1]}"' in text
    assert "Input should" not in text
