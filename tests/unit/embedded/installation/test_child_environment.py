"""What child processes are given of the user's environment."""

import pytest
from pydantic import SecretStr

from services.common.process.settings import CommonSettings
from services.console import settings as console
from services.embedded.installation.child_environment import SECRETS, child_environment, proxy_exceptions
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
