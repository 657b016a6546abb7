"""Secrets in files that the environment names."""

from pathlib import Path

import pytest

from services.common.errors import ConfigError
from services.common.process.secret_files import secret_of, with_secret_files
from services.common.process.settings import CommonSettings
from services.gateway.settings import Settings
from tests.e2e.planted_secrets import SETTINGS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a secret, as editors and `echo` write it."""
    path = tmp_path / "secret"
    path.write_text("s3cret of twenty ch.\n")
    return path


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda one: one.__module__)
def test_every_secret_of_every_service_is_read_from_a_file_too(
    settings: type[CommonSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each variable that sets it; whoever adds one need do nothing."""
    for name in ("TOCSIN_KEY_PEPPER", "TOCSIN_PSEUDONYM_KEY"):
        monkeypatch.setenv(name, "p" * 32)
    for field, variables in settings.secret_variables().items():
        for variable in variables:
            value = {"kafka_url": "plaintext://kafka.example:9", "limits_url": "valkey://:pw@host"}.get(
                field, f"{variable}-a-long-secret"
            )
            (tmp_path / variable).write_text(f"{value}\n")
            with monkeypatch.context() as patched:
                patched.delenv(variable, raising=False)
                patched.setenv(f"{variable}_FILE", str(tmp_path / variable))
                read = getattr(settings.load(), field)
            told = read.get_secret_value() if hasattr(read, "get_secret_value") else read
            assert told == value.removeprefix("plaintext://"), variable


def test_variable_that_is_set_both_ways_is_refused_without_its_value(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them was meant, nobody knows."""
    monkeypatch.setenv("TOCSIN_KAFKA_PASSWORD", "other-word")
    monkeypatch.setenv("TOCSIN_KAFKA_PASSWORD_FILE", str(file))
    with pytest.raises(ConfigError, match="both set") as raised:
        CommonSettings.load()
    assert "word" not in str(raised.value).replace("PASSWORD", "")


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\xfe" * 20, b"x" * 70_000, b"a\0b"])
def test_file_that_is_no_secret_is_refused_without_what_it_says(file: Path, content: bytes) -> None:
    """Empty, binary, several lines, endless: a mistake in mounting it."""
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"TOCSIN_X_FILE=.*one line") as raised:
        secret_of({"TOCSIN_X_FILE": str(file)}, "TOCSIN_X")
    assert "lines" not in str(raised.value)


def test_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    """With the variable that names it."""
    with pytest.raises(ConfigError, match=r"TOCSIN_X_FILE=.*No such file"):
        secret_of({"TOCSIN_X_FILE": str(tmp_path / "none")}, "TOCSIN_X")


def test_more_particular_variable_counts_by_a_file_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateways' own address of the store goes before everybody's."""
    monkeypatch.setenv("TOCSIN_KEY_PEPPER", "p" * 16)
    monkeypatch.setenv("TOCSIN_PSEUDONYM_KEY", "p" * 16)
    monkeypatch.setenv("TOCSIN_CLICKHOUSE_URL", "http://everybody")
    file.write_text("http://gateways")
    monkeypatch.setenv("TOCSIN_GATEWAY_CLICKHOUSE_URL_FILE", str(file))
    assert Settings.load().clickhouse_url == "http://gateways"


def test_environment_with_its_secrets_read_has_no_files_of_them(file: Path) -> None:
    """Other files stay, and so does what is set by nothing."""
    environ = {"TOCSIN_X_FILE": str(file), "TOCSIN_MODELS_FILE": "m.yaml", "TOCSIN_Y": "1"}
    read = with_secret_files(environ, ("TOCSIN_X", "TOCSIN_Y", "TOCSIN_Z"))
    assert read == {"TOCSIN_X": "s3cret of twenty ch.", "TOCSIN_MODELS_FILE": "m.yaml", "TOCSIN_Y": "1"}
