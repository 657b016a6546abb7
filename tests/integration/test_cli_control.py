"""`tocsin keys`, `tenants` and `models` on a real broker, as an operator calls them."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from click.testing import Result
from typer.testing import CliRunner

from services.cli.app import app
from services.common.bus.admin import provision
from tests.support.control import PEPPER
from tests.support.kafka import Broker

Tocsin = Callable[..., Result]


@pytest.fixture
def tocsin(kafka: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tocsin]:
    """Runs a command to its end, beside no installation."""
    asyncio.run(provision(kafka.bootstrap, [], 0.125))
    monkeypatch.setenv("TOCSIN_KAFKA_URL", kafka.bootstrap)
    monkeypatch.setenv("TOCSIN_KEY_PEPPER", PEPPER)
    monkeypatch.setenv("TOCSIN_HOME", str(tmp_path))
    yield lambda *arguments: CliRunner().invoke(app, arguments)
    structlog.reset_defaults()


def test_key_lives_through_all_its_commands(tocsin: Tocsin) -> None:
    """Made for a tenant that must exist, widened, revoked, removed: each shows in the
    list, and no secret does.
    """
    refused = tocsin("keys", "create", "--name", "n", "--tenant", "clinic")
    assert (refused.exit_code, "tocsin tenants create clinic" in refused.stderr) == (1, True)
    assert tocsin("tenants", "create", "clinic", "--name", "Clinic").stdout == "clinic is there\n"
    again = tocsin("tenants", "create", "clinic")
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
    made = json.loads(
        tocsin("keys", "create", "--name", "n", "--tenant", "clinic", "--scope", "read", "--json").stdout
    )
    assert made["scopes"] == ["read"]
    assert "secret_hmac" not in made
    assert tocsin("keys", "scopes", made["key_id"], "--scope", "infer", "--scope", "admin").exit_code == 0
    assert tocsin("keys", "revoke", made["key_id"]).stdout == f"{made['key_id']} is revoked\n"
    listed = tocsin("keys", "list").stdout
    (line,) = [one for one in listed.splitlines() if one.startswith(made["key_id"])]
    assert "infer,admin" in line
    assert "revoked 20" in line
    assert made["key"].split("_", 2)[2] not in listed
    kept = tocsin("tenants", "purge", "clinic")
    assert (kept.exit_code, "still has the key" in kept.stderr) == (1, True)
    assert tocsin("keys", "purge", made["key_id"]).exit_code == 0
    assert tocsin("tenants", "suspend", "clinic").stdout == "clinic is suspended\n"
    assert "suspended 20" in tocsin("tenants", "list").stdout
    assert [
        tocsin("tenants", verb, "clinic").exit_code for verb in ("resume", "delete", "restore", "purge")
    ] == [0] * 4


def test_command_with_a_mistake_says_so_in_one_line(tocsin: Tocsin) -> None:
    """An unknown key, an unknown model."""
    for command, said in (
        (("keys", "revoke", "nosuchid"), "there is no key 'nosuchid'"),
        (("models", "disable", "gpt-9"), "there is no model 'gpt-9'; the models file has"),
    ):
        done = tocsin(*command)
        assert (done.exit_code, done.stderr.startswith("tocsin: "), said in done.stderr) == (1, True, True)
        assert done.stderr.count("\n") == 1


def test_model_is_switched_off_and_on(tocsin: Tocsin) -> None:
    """By its name in the models file."""
    assert tocsin("models", "disable", "smollm2-135m").stdout == "smollm2-135m is off\n"
    assert "smollm2-135m                     off" in tocsin("models", "list").stdout
    assert tocsin("models", "enable", "smollm2-135m").stdout == "smollm2-135m is on\n"
