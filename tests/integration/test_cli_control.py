"""`tocsin keys`, `tenants` and `models` on a real broker, as an operator calls them."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.common.bus.admin import provision
from tests.support.control import PEPPER
from tests.support.kafka import Broker

Tocsin = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tocsin(kafka: Broker, tmp_path: Path) -> Tocsin:
    """Runs a command to its end, beside no installation."""
    asyncio.run(provision(kafka.bootstrap, [], 0.125))
    environment = os.environ | {
        "TOCSIN_KAFKA_URL": kafka.bootstrap,
        "TOCSIN_KEY_PEPPER": PEPPER,
        "TOCSIN_HOME": str(tmp_path),
    }

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "services.cli", *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    return run


def test_key_lives_through_all_its_commands(tocsin: Tocsin) -> None:
    """Made for a tenant that must exist, widened, revoked, removed: each shows in the
    list, and no secret does.
    """
    refused = tocsin("keys", "create", "--name", "n", "--tenant", "clinic")
    assert (refused.returncode, "tocsin tenants create clinic" in refused.stderr) == (1, True)
    assert tocsin("tenants", "create", "clinic", "--name", "Clinic").stdout == "clinic is there\n"
    again = tocsin("tenants", "create", "clinic")
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    made = json.loads(
        tocsin("keys", "create", "--name", "n", "--tenant", "clinic", "--scope", "read", "--json").stdout
    )
    assert made["scopes"] == ["read"]
    assert "secret_hmac" not in made
    assert tocsin("keys", "scopes", made["key_id"], "--scope", "infer", "--scope", "admin").returncode == 0
    assert tocsin("keys", "revoke", made["key_id"]).stdout == f"{made['key_id']} is revoked\n"
    listed = tocsin("keys", "list").stdout
    (line,) = [one for one in listed.splitlines() if one.startswith(made["key_id"])]
    assert "infer,admin" in line
    assert "revoked 20" in line
    assert made["key"].rpartition("_")[2] not in listed
    kept = tocsin("tenants", "purge", "clinic")
    assert (kept.returncode, "still has the key" in kept.stderr) == (1, True)
    assert tocsin("keys", "purge", made["key_id"]).returncode == 0
    assert tocsin("tenants", "suspend", "clinic").stdout == "clinic is suspended\n"
    assert "suspended 20" in tocsin("tenants", "list").stdout
    assert [
        tocsin("tenants", verb, "clinic").returncode for verb in ("resume", "delete", "restore", "purge")
    ] == [0] * 4


def test_command_with_a_mistake_says_so_in_one_line(tocsin: Tocsin) -> None:
    """An unknown key, an unknown model."""
    for command, said in (
        (("keys", "revoke", "nosuchid"), "there is no key 'nosuchid'"),
        (("models", "disable", "gpt-9"), "there is no model 'gpt-9'; the models file has"),
    ):
        done = tocsin(*command)
        assert (done.returncode, done.stderr.startswith("tocsin: "), said in done.stderr) == (1, True, True)
        assert done.stderr.count("\n") == 1


def test_model_is_switched_off_and_on(tocsin: Tocsin) -> None:
    """By its name in the models file."""
    assert tocsin("models", "disable", "smollm2-135m").stdout == "smollm2-135m is off\n"
    assert "smollm2-135m                     off" in tocsin("models", "list").stdout
    assert tocsin("models", "enable", "smollm2-135m").stdout == "smollm2-135m is on\n"
