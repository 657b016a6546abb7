"""`tocsin keys`, `tenants`, `users`, `policies` and `models` on a real broker, as an operator calls them."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from services.cli.app import app
from services.common.bus.administration.admin import provision
from tests.support.control import PEPPER
from tests.support.kafka import Broker

Tocsin = Callable[..., Result]


@pytest.fixture
def tocsin(kafka: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tocsin:
    """Runs a command to its end, beside no installation."""
    asyncio.run(provision(kafka.bootstrap, [], 0.125))
    monkeypatch.setenv("TOCSIN_KAFKA_URL", kafka.bootstrap)
    monkeypatch.setenv("TOCSIN_KEY_PEPPER", PEPPER)
    monkeypatch.setenv("TOCSIN_HOME", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, arguments)


def cells(listed: str, first: str) -> list[str]:
    """The cells of the line that begins so."""
    (line,) = [one for one in listed.splitlines() if one.split()[0] == first]
    return re.split(r" {2,}", line)


def test_key_lives_through_all_its_commands(tocsin: Tocsin) -> None:
    """Made for a tenant that must exist, widened, revoked, removed: each shows in the
    list, and no secret does.
    """
    refused = tocsin("keys", "create", "--name", "n", "--tenant", "clinic")
    assert (refused.exit_code, "tocsin tenants create clinic" in refused.stderr) == (1, True)
    assert tocsin("tenants", "create", "clinic", "--name", "Clinic").stdout == "tenant clinic is created\n"
    again = tocsin("tenants", "create", "clinic")
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
    made = json.loads(
        tocsin("keys", "create", "--name", "n", "--tenant", "clinic", "--scope", "read", "--json").stdout
    )
    assert made["scopes"] == ["read"]
    assert "secret_hmac" not in made
    assert tocsin("keys", "scopes", made["key_id"], "--scope", "infer", "--scope", "admin").exit_code == 0
    for _ in range(2):
        assert tocsin("keys", "revoke", made["key_id"]).stdout == f"{made['key_id']} is revoked\n"
    assert json.loads(tocsin("keys", "show", made["key_id"], "--json").stdout)["version"] == 3
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
    assert cells(tocsin("models", "list").stdout, "smollm2-135m")[1] == "off"
    assert tocsin("models", "enable", "smollm2-135m").stdout == "smollm2-135m is on\n"


def test_user_lives_through_all_its_commands(tocsin: Tocsin) -> None:
    """Entered, suspended, deleted, restored; one who has a key is not removed, since the
    key would be good again.
    """
    assert tocsin("tenants", "create", "ward").exit_code == 0
    refused = tocsin("users", "create", "jo", "--tenant", "nowhere")
    assert (refused.exit_code, "tocsin tenants create nowhere" in refused.stderr) == (1, True)
    of_ward = ("jo", "--tenant", "ward")
    made = json.loads(tocsin("users", "create", *of_ward, "--name", "Jo", "--scope", "read", "--json").stdout)
    assert (made["tenant"], made["user"], made["scopes"], made["version"]) == ("ward", "jo", ["read"], 1)
    assert "is there already" in tocsin("users", "create", *of_ward).stderr
    named = json.loads(tocsin("users", "set", *of_ward, "--name", "", "--json").stdout)
    assert (named["name"], named["scopes"], named["version"]) == ("", ["read"], 2)
    key = json.loads(
        tocsin("keys", "create", "--name", "n", "--tenant", "ward", "--user", "jo", "--json").stdout
    )
    assert tocsin("users", "suspend", *of_ward).stdout == "ward/jo is suspended\n"
    assert "suspended_at           20" in tocsin("users", "show", *of_ward).stdout
    kept = tocsin("users", "purge", *of_ward)
    assert (kept.exit_code, f"still has the key '{key['key_id']}'" in kept.stderr) == (1, True)
    assert json.loads(tocsin("users", "resume", *of_ward, "--json").stdout)["suspended_at"] is None
    assert tocsin("users", "delete", *of_ward).stdout == "ward/jo is deleted\n"
    assert json.loads(tocsin("users", "list", "--tenant", "ward", "--json").stdout) == []
    assert json.loads(tocsin("users", "show", *of_ward, "--json").stdout)["deleted_at"]
    assert tocsin("users", "restore", *of_ward).stdout == "ward/jo is restored\n"
    assert [
        one["user"] for one in json.loads(tocsin("users", "list", "--tenant", "ward", "--json").stdout)
    ] == ["jo"]
    assert tocsin("users", "list", "--tenant", "ward").stdout.splitlines()[1].startswith("ward/jo ")
    assert tocsin("users", "list", "--tenant", "elsewhere").stdout == ""
    assert tocsin("keys", "purge", key["key_id"]).exit_code == 0
    assert tocsin("users", "purge", *of_ward, "--json").stdout == "null\n"
    gone = tocsin("users", "show", *of_ward)
    assert (gone.exit_code, gone.stderr) == (
        1,
        "tocsin: there is no user 'ward/jo'; of another tenant than 'ward' it is with --tenant\n",
    )


def listed_policies(tocsin: Tocsin) -> set[str]:
    """Whose policies are listed."""
    return {one["tenant"] for one in json.loads(tocsin("policies", "list", "--json").stdout)}


def test_policy_lives_through_all_its_commands(tocsin: Tocsin) -> None:
    """Set once, changed in what is named, deleted and restored; a value that is not
    allowed is named.
    """
    assert tocsin("tenants", "create", "lab").exit_code == 0
    others = listed_policies(tocsin)  # the bus is shared with other tests
    made = json.loads(
        tocsin(
            "policies", "set", "lab", "--prompt-attacks", "flag", "--retention-days", "30", "--json"
        ).stdout
    )
    assert (made["prompt_attacks"], made["retention_days"], made["store_text"]) == ("flag", 30, "masked")
    assert tocsin("policies", "set", "lab", "--store-text", "none", "--no-scan-output").exit_code == 0
    now = json.loads(tocsin("policies", "show", "lab", "--json").stdout)
    assert (now["prompt_attacks"], now["store_text"], now["scan_output"]) == ("flag", "none", False)
    assert now["version"] == 2
    given = ("--mask-prompt", "--secrets", "mask", "--output-leaks", "cut", "--output-personal", "mask")
    hidden = json.loads(tocsin("policies", "set", "lab", *given, "--json").stdout)
    assert (hidden["secrets"], hidden["mask_prompt"]) == ("mask", True)
    assert (hidden["output_leaks"], hidden["output_personal"]) == ("cut", "mask")
    for wrong, named in (
        ("--store-text", "store_text"),
        ("--prompt-attacks", "prompt_attacks"),
        ("--output-leaks", "output_leaks"),
    ):
        refused = tocsin("policies", "set", "lab", wrong, "perhaps")
        assert (refused.exit_code, refused.stderr.startswith(f"tocsin: {named}: ")) == (1, True)
    assert "tenants create nowhere" in tocsin("policies", "set", "nowhere", "--secrets", "mask").stderr
    assert tocsin("policies", "set", "*", "--secrets", "block").stdout == "the policy of * is set\n"
    kept = ("--retention", "findings=90", "--retention", "dead_letters=7")
    made = json.loads(tocsin("policies", "set", "lab", *kept, "--json").stdout)
    assert made["retention_by_table"] == {"findings": 90, "dead_letters": 7}
    assert "findings=90 dead_letters=7" in tocsin("policies", "show", "lab").stdout
    for wrong, said in (
        ("audit=3", "'audit' is none of"),
        ("findings=0", "findings=0 is not"),
        ("x", "'x' must"),
    ):
        refused = tocsin("policies", "set", "lab", "--retention", wrong)
        assert (refused.exit_code != 0, said in refused.stderr) == (True, True)
    cleared = tocsin("policies", "set", "lab", "--retention", "findings=default", "--json")
    assert json.loads(cleared.stdout)["retention_by_table"] == {"findings": None, "dead_letters": 7}
    assert tocsin("policies", "set", "lab", "--retention-days", "0").exit_code == 0
    assert json.loads(tocsin("policies", "show", "lab", "--json").stdout)["retention_days"] is None
    assert tocsin("policies", "delete", "lab").stdout == "the policy of lab is deleted\n"
    assert {"*"} <= listed_policies(tocsin) <= {"*"} | others
    assert "deleted_at             20" in tocsin("policies", "show", "lab").stdout
    assert "restore it first" in tocsin("policies", "set", "lab", "--secrets", "mask").stderr
    assert tocsin("policies", "restore", "lab").stdout == "the policy of lab is restored\n"
    assert "flag" in cells(tocsin("policies", "list").stdout, "lab")
    assert [tocsin("policies", "purge", one).exit_code for one in ("lab", "*")] == [0, 0]
    assert listed_policies(tocsin) == others - {"*"}


def test_key_with_a_budget_rotates_and_keeps_it(tocsin: Tocsin) -> None:
    """The id stays, so the budget goes on; a list is read by programs."""
    assert tocsin("tenants", "create", "office", "--tokens-per-minute", "900").exit_code == 0
    key = json.loads(tocsin("keys", "create", "--name", "n", "--tenant", "office", "--json").stdout)
    budget = ("b1", "--for", f"key:{key['key_id']}", "--tenant", "office", "--limit-usd", "0.50", "--hard")
    made = json.loads(tocsin("budgets", "create", *budget, "--period", "day", "--json").stdout)
    assert (made["limit_usd"], made["hard"], made["subject"]["kind"]) == ("0.50", True, "key")
    rotated = json.loads(tocsin("keys", "rotate", key["key_id"], "--overlap-hours", "1", "--json").stdout)
    assert rotated["key_id"] == key["key_id"]
    assert rotated["key"] != key["key"]
    changed = tocsin("budgets", "set", "b1", "--limit-usd", "2", "--soft")
    assert changed.stdout == "b1 is changed\n"
    assert "2 USD a day" in tocsin("budgets", "list", "--tenant", "office").stdout
    assert json.loads(tocsin("budgets", "set", "b1", "--warn-at", "", "--json").stdout)["warn_at"] == []
    refused = tocsin("keys", "purge", key["key_id"], "--json")
    assert refused.exit_code == 1
    assert "still has the budget 'b1'" in json.loads(refused.stderr)["error"]
    wrong = tocsin("budgets", "set", "b1", "--limit-usd", "-1", "--time-zone", "Mars", "--json")
    assert [one["field"] for one in json.loads(wrong.stderr)["errors"]] == ["limit_usd", "time_zone"]


def test_routes_thresholds_and_prices_are_set_step_by_step(tocsin: Tocsin) -> None:
    """What is not named stays; prices keep their history."""
    route = ("small", "--target", "smollm2-135m=3", "--json")
    assert json.loads(tocsin("routes", "set", *route).stdout)["targets"][0]["weight"] == 3
    assert tocsin("routes", "set", "small", "--fallback", "smollm2-135m").stdout == "*/small is set\n"
    listed = cells(tocsin("routes", "list").stdout, "*/small")
    assert listed == ["*/small", "smollm2-135m=3", "smollm2-135m", "open"]
    assert tocsin("thresholds", "set", "*", "--requests-per-hour", "9,8,7").exit_code == 0
    shown = json.loads(tocsin("thresholds", "set", "*", "--critical", "30", "--json").stdout)
    assert (shown["requests_per_hour"], shown["critical"]) == ([9, 8, 7], 30)
    shown = json.loads(tocsin("thresholds", "set", "*", "--requests-per-hour", "default", "--json").stdout)
    assert (shown["requests_per_hour"], shown["critical"]) == (None, 30)
    for given, kept in (("25", 25), ("default", None)):
        shown = json.loads(tocsin("policies", "set", "*", "--inspection-ms", given, "--json").stdout)
        assert shown["inspection_ms"] == kept
    assert tocsin("policies", "purge", "*").exit_code == 0
    for day, price in (("2027-02-01", "2"), ("2027-01-01", "1"), ("2027-02-01", "3")):
        priced = tocsin(
            "models", "price", "smollm2-135m", "--from", day, "--output-per-million-usd", price, "--json"
        )
    history = [
        (one["valid_from"], one["output_per_million_usd"]) for one in json.loads(priced.stdout)["prices"]
    ]
    assert history == [("2027-01-01", "1"), ("2027-02-01", "3")]
    listed = tocsin("models", "list").stdout
    assert "input 0.02 output 0.06 (the models file, another from 2027-01-01)" in listed
    for kind, entry in (("routes", "small"), ("thresholds", "*"), ("models", "smollm2-135m")):
        assert tocsin(kind, "purge", entry).exit_code == 0


def test_models_show_what_is_served_and_the_price_in_force(tocsin: Tocsin) -> None:
    """Also where nobody changed anything; a price that has begun takes the file's place."""
    shown = json.loads(tocsin("models", "show", "smollm2-135m", "--json").stdout)
    assert shown["price_in_force"]["input_per_million_usd"] == "0.02"
    assert shown["price_source"] == "the models file"
    assert "there is no model 'gpt-9'" in tocsin("models", "show", "gpt-9").stderr
    tocsin("models", "price", "smollm2-135m", "--from", "2026-01-01", "--input-per-million-usd", "3")
    line = tocsin("models", "list").stdout
    assert cells(line, "smollm2-135m")[1:3] == ["on", "input 3 (set from 2026-01-01)"]
    assert tocsin("models", "purge", "smollm2-135m").exit_code == 0


def test_default_tenant_is_listed_and_can_be_limited(tocsin: Tocsin) -> None:
    """It is there without having been made."""
    assert cells(tocsin("tenants", "list").stdout, "default")
    assert tocsin("tenants", "set", "default", "--requests-per-minute", "9").exit_code == 0
    assert "requests_per_minute=9" in tocsin("tenants", "show", "default").stdout
    assert tocsin("tenants", "purge", "default").exit_code == 0


def test_key_for_a_user_or_model_nobody_knows_is_refused(tocsin: Tocsin) -> None:
    """With the remedy, and no secret shown."""
    assert tocsin("tenants", "create", "shop").exit_code == 0
    for wrong, said in (
        (("--user", "nobody"), "`tocsin users create --tenant shop nobody` makes it"),
        (("--model", "gpt-4"), "there is no model 'gpt-4'; the models file has"),
    ):
        refused = tocsin("keys", "create", "--name", "n", "--tenant", "shop", *wrong)
        assert (refused.exit_code, refused.stdout, said in refused.stderr) == (1, "", True)


def test_version_is_told() -> None:
    """Without an installation."""
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.stdout.startswith("tocsin ")) == (0, True)


def test_bus_that_is_away_is_said_within_seconds_with_the_remedy(
    tocsin: Tocsin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a reading and of a changing command."""
    monkeypatch.setenv("TOCSIN_KAFKA_URL", "127.0.0.1:1")
    for command in (("keys", "list"), ("tenants", "create", "x")):
        began = time.monotonic()
        done = tocsin(*command)
        assert (done.exit_code, "`tocsin up` (or `make up`)" in done.stderr) == (1, True)
        assert "AddressFamily" not in done.stderr
        assert time.monotonic() - began < 30
