"""What commands beside a running installation are told."""

from pathlib import Path

import pytest

from services.embedded.installation.home import Home
from services.embedded.installation.running_installation import environment_of_running_installation


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home in which an installation with a models file and a pepper of the user's
    runs.
    """
    made = Home(tmp_path / "home")
    made.create()
    made.write_state(
        {"ours": {"kafka": "sasl_plaintext://t:pw@127.0.0.1:1", "clickhouse": "http://h/tocsin"}}
    )
    made.keep_environment(
        {
            "TOCSIN_MODELS_FILE": "/elsewhere/models.yaml",
            "TOCSIN_KEY_PEPPER": "given-at-the-start",
            "TOCSIN_KAFKA_URL": "sasl_plaintext://t:pw@127.0.0.1:1",
            "TOCSIN_CLICKHOUSE_URL": "http://service:pw@h/tocsin",
        }
    )
    return made


def test_command_in_another_shell_has_the_installations_settings(home: Home) -> None:
    """Its models file too: `doctor` asks for the topics that there are."""
    with home.lock():  # type: ignore[union-attr]
        given = environment_of_running_installation({}, home)
    assert given["TOCSIN_MODELS_FILE"] == "/elsewhere/models.yaml"
    assert given["TOCSIN_KEY_PEPPER"] == "given-at-the-start"


def test_command_in_a_shell_that_sourced_connection_env_gets_the_login_too(home: Home) -> None:
    """The store's address in connection.env has no user; a command needs the service's."""
    sourced = {"TOCSIN_CLICKHOUSE_URL": "http://h/tocsin", "TOCSIN_KAFKA_URL": "kafka.example:1"}
    with home.lock():  # type: ignore[union-attr]
        given = environment_of_running_installation(sourced, home)
    assert given["TOCSIN_CLICKHOUSE_URL"] == "http://service:pw@h/tocsin"
    assert "TOCSIN_KAFKA_URL" not in given


def test_command_that_was_given_a_secret_by_a_file_keeps_it(home: Home) -> None:
    """Both ways at once would be refused."""
    with home.lock():  # type: ignore[union-attr]
        given = environment_of_running_installation({"TOCSIN_KEY_PEPPER_FILE": "/run/pepper"}, home)
    assert "TOCSIN_KEY_PEPPER" not in given
    assert given["TOCSIN_MODELS_FILE"] == "/elsewhere/models.yaml"


def test_command_where_nothing_runs_is_told_nothing(home: Home) -> None:
    """What an earlier run left is of no use."""
    assert environment_of_running_installation({}, home) == {}
