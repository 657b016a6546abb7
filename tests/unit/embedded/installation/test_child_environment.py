"""What child processes are given of the user's environment."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.common.process.settings import CommonSettings
from services.console import settings as console
from services.embedded.installation.child_environment import (
    SECRETS,
    child_environment,
    proxy_exceptions,
    with_whole_paths,
)
from services.gateway import settings as gateway


def test_environment_without_what_leads_children_elsewhere() -> None:
    """Java's options, another Ray, another time zone, another encoding: none arrives."""
    user = {
        "PATH": "/bin",
        "JAVA_TOOL_OPTIONS": "-Xmx1m",
        "JDK_JAVA_OPTIONS": "-version",
        "_JAVA_OPTIONS": "-Xint",
        "CLASSPATH": "/elsewhere",
        "RAY_ADDRESS": "auto",
        "RAY_NAMESPACE": "theirs",
        "RAY_memory_usage_threshold": "0.99",
        "TZ": "CET-1CEST,M3.5.0,M10.5.0/3",
        "LC_ALL": "POSIX",
        "LC_CTYPE": "tr_TR",
        "PYTHONIOENCODING": "ascii",
        "TOCSIN_INSTANCE": "one",
        "TOCSIN_HEALTH_PORT": "1",
        "TOCSIN_KAFKA_PASSWORD": "x",
    }
    given = child_environment(user, {"TOCSIN_HEALTH_PORT": "8011"})
    assert {name: given[name] for name in ("PATH", "RAY_memory_usage_threshold", "TZ", "LC_ALL")} == {
        "PATH": "/bin",
        "RAY_memory_usage_threshold": "0.99",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }
    assert given["TOCSIN_HEALTH_PORT"] == "8011"
    assert set(user) - set(given) == {
        "JAVA_TOOL_OPTIONS",
        "JDK_JAVA_OPTIONS",
        "_JAVA_OPTIONS",
        "CLASSPATH",
        "RAY_ADDRESS",
        "RAY_NAMESPACE",
        "LC_CTYPE",
        "PYTHONIOENCODING",
        "TOCSIN_INSTANCE",
        "TOCSIN_KAFKA_PASSWORD",
    }


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("store", set()),
        ("kafka", set()),
        ("", set()),
        ("inference", {"TOCSIN_KAFKA_URL", "OPENAI_API_KEY"}),
        ("analyzer", {"TOCSIN_KAFKA_URL", "TOCSIN_CLICKHOUSE_URL"}),
        (
            "gateway",
            {
                "TOCSIN_KAFKA_URL",
                "TOCSIN_KEY_PEPPER",
                "TOCSIN_PSEUDONYM_KEY",
                "TOCSIN_GATEWAY_CLICKHOUSE_URL",
                "TOCSIN_JWT_SECRET",
                "TOCSIN_LIMITS_URL",
            },
        ),
    ],
)
def test_environment_without_the_secrets_of_others(kind: str, kept: set[str]) -> None:
    """What the user exported goes to those only who need it; the rest is everybody's."""
    user = dict.fromkeys(SECRETS, "exported") | {"TOCSIN_LOG_LEVEL": "debug"}
    given = child_environment(user, {}, kind)
    assert {name for name in given if name in SECRETS} == kept
    assert given["TOCSIN_LOG_LEVEL"] == "debug"
    assert child_environment(user, {"TOCSIN_KEY_PEPPER": "own"}, kind)["TOCSIN_KEY_PEPPER"] == "own"


def test_secrets_are_all_that_a_service_has_settings_for() -> None:
    """A setting that is secret is not everybody's, whoever adds it."""
    fields = {
        f"TOCSIN_{name.upper()}"
        for settings in (CommonSettings, gateway.Settings, console.Settings)
        for name, field in settings.model_fields.items()
        if field.annotation is SecretStr
    }
    assert fields >= {"TOCSIN_JWT_SECRET", "TOCSIN_LIMITS_URL", "TOCSIN_KAFKA_PASSWORD"}
    assert {name for name in child_environment(dict.fromkeys(fields, "x")) if name in fields} == set()


def test_environment_behind_a_proxy_reaches_this_machine_directly() -> None:
    """The proxy stays, for models elsewhere; it stands between no two of ours."""
    given = child_environment({"HTTPS_PROXY": "http://proxy:1", "no_proxy": "intranet, localhost"})
    assert given["HTTPS_PROXY"] == "http://proxy:1"
    assert given["NO_PROXY"] == given["no_proxy"] == "intranet,localhost,127.0.0.1,::1"
    assert proxy_exceptions({"NO_PROXY": "intranet"}) == {}


def test_upstreams_keys_are_inferences_alone() -> None:
    """By whatever name the models file calls them; what only sounds so is no loss."""
    user = dict.fromkeys(("MISTRAL_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AZURE_PASSWORD"), "x")
    files = {f"{name}_FILE": "/run/x" for name in user}
    harmless = {"KEYBOARD": "fr", "XDG_SESSION_ID": "1", "TOCSIN_TOKEN_LONGEST_S": "60"}
    for kind in ("kafka", "store", "analyzer", "console", "gateway", ""):
        given = child_environment(user | files | harmless, {}, kind)
        assert given.keys() & {*user, *files} == set()
        assert given.keys() >= harmless.keys()
    assert child_environment(user | files, {}, "inference").keys() >= {*user, *files}


def test_secrets_file_goes_by_its_whole_path_to_those_who_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children work in the checkout; what a child is given itself needs no file."""
    monkeypatch.chdir(tmp_path)
    user = {"TOCSIN_JWT_SECRET_FILE": "run/jwt", "TOCSIN_KEY_PEPPER_FILE": "run/pepper"}
    given = child_environment(user, {"TOCSIN_KEY_PEPPER": "own"}, "gateway")
    assert given["TOCSIN_JWT_SECRET_FILE"] == str(tmp_path / "run" / "jwt")
    assert "TOCSIN_KEY_PEPPER_FILE" not in given
    assert "TOCSIN_JWT_SECRET_FILE" not in child_environment(user, {}, "inference")
    assert with_whole_paths(user | {"PATH": "bin", "TOCSIN_MODELS_FILE": "m"}) == {
        "TOCSIN_JWT_SECRET_FILE": str(tmp_path / "run" / "jwt"),
        "TOCSIN_KEY_PEPPER_FILE": str(tmp_path / "run" / "pepper"),
        "PATH": "bin",
        "TOCSIN_MODELS_FILE": "m",
    }
