"""What commands beside an installation write, and where."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import typer
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.beside import option_of, run_beside_installation
from services.cli.control.control import KeySettings
from services.common.control.errors import InvalidChangeError
from services.common.errors import (
    BusUnavailableError,
    ConfigError,
    MissingSettingError,
    StoreUnavailableError,
    TocsinError,
)
from services.embedded.installation.home import Home


@pytest.fixture(autouse=True)
def _logging_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TOCSIN_HOME", str(tmp_path))
    levels = {name: logging.getLogger(name).level for name in ("aiokafka", "urllib3")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_command_that_logs_answers_with_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """`keys create --json` is read by a program: no line of a log stands before it."""

    def command() -> int:
        structlog.get_logger("any").info("control_changed", key="k")
        print('{"key": "k"}')
        return 0

    with pytest.raises(typer.Exit) as ended:
        run_beside_installation(command)
    assert ended.value.exit_code == 0
    assert capsys.readouterr().out == '{"key": "k"}\n'


def test_command_with_a_wrong_setting_says_so_once_and_exits_with_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, without the retries that came before."""

    def command() -> int:
        structlog.get_logger("any").warning("stamina.retry_scheduled")
        raise ConfigError("set X")

    with pytest.raises(typer.Exit) as ended:
        run_beside_installation(command)
    assert ended.value.exit_code == 2
    assert capsys.readouterr() == ("", "tocsin: set X\n")


@pytest.mark.parametrize("kind", [BusUnavailableError, StoreUnavailableError, MissingSettingError])
@pytest.mark.parametrize("as_json", [False, True])
def test_part_that_is_not_to_be_had_is_said_with_what_to_do(
    kind: type[TocsinError],
    as_json: bool,  # noqa: FBT001
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Where nothing runs that, whatever the command missed first; not where it runs."""

    def command() -> int:
        raise kind("no such thing")

    def said() -> str:
        with pytest.raises(typer.Exit):
            run_beside_installation(command, as_json=as_json)
        return capsys.readouterr().err

    assert f"no such thing Nothing runs in {tmp_path}: `tocsin up` (or `make up`)" in said()
    home = Home()
    home.create()
    held = home.lock()
    assert held is not None
    with held:
        assert "Nothing runs" not in said()


def test_setting_that_is_missing_is_told_from_one_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a wrong one, what runs where says nothing."""
    monkeypatch.delenv("TOCSIN_KEY_PEPPER", raising=False)
    with pytest.raises(MissingSettingError, match="TOCSIN_KEY_PEPPER"):
        KeySettings.load()
    monkeypatch.setenv("TOCSIN_KEY_PEPPER", "short")
    with pytest.raises(ConfigError) as wrong:
        KeySettings.load()
    assert not isinstance(wrong.value, MissingSettingError)


def test_failure_of_a_command_with_json_is_json_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every wrong field by its name, for programs; standard output stays empty."""

    def command() -> int:
        raise InvalidChangeError("name", "is too long", ("share", "is negative"))

    with pytest.raises(typer.Exit) as ended:
        run_beside_installation(command, as_json=True)
    assert ended.value.exit_code == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert json.loads(said.err) == {
        "error": "name: is too long; share: is negative",
        "errors": [
            {"field": "name", "message": "is too long"},
            {"field": "share", "message": "is negative"},
        ],
    }


@pytest.mark.parametrize(
    ("option", "value", "field"),
    [("--group-by", "x", "group_by"), ("--from", "0001-01-01", "from"), ("--time-zone", "Mars", "time_zone")],
)
def test_question_about_costs_that_makes_no_sense_is_json_where_that_is_wanted(
    option: str, value: str, field: str
) -> None:
    """The command reads no store for it."""
    refused = CliRunner().invoke(app, ["costs", option, value, "--json"])
    told = json.loads(refused.stderr)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert [one["field"] for one in told["errors"]] == [field]
    plain = CliRunner().invoke(app, ["costs", option, value])
    assert plain.stderr == f"tocsin: {told['error']}\n"


@pytest.mark.parametrize(
    ("field", "given", "called"),
    [
        ("limit_usd", ["--limit-usd", "20,5"], "--limit-usd"),
        ("limit_usd", ["--limit-usd=20,5"], "--limit-usd"),
        ("prices.0.valid_from", ["--from", "demain"], "--from"),
        ("prices.0.input_per_million_usd", ["--input-per-million-usd", "x"], "--input-per-million-usd"),
        ("subject.id", ["--for", "tenant:x"], "--for"),
        ("limits.requests_per_minute", ["--requests-per-minute", "-1"], "--requests-per-minute"),
        ("tenant", ["Société"], "tenant"),
        ("retention_by_table", ["--retention", "audit=3"], "--retention"),
        ("time_zone", ["--for", "--time-zones"], "time_zone"),
    ],
)
def test_wrong_field_is_called_as_it_was_typed(field: str, given: list[str], called: str) -> None:
    """An option where one was given, else the field."""
    assert option_of(field, ["tocsin", *given]) == called
