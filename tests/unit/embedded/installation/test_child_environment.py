"""What child processes are given of the user's environment."""

from services.embedded.installation.child_environment import child_environment, proxy_exceptions


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


def test_environment_behind_a_proxy_reaches_this_machine_directly() -> None:
    """The proxy stays, for models elsewhere; it stands between no two of ours."""
    given = child_environment({"HTTPS_PROXY": "http://proxy:1", "no_proxy": "intranet, localhost"})
    assert given["HTTPS_PROXY"] == "http://proxy:1"
    assert given["NO_PROXY"] == given["no_proxy"] == "intranet,localhost,127.0.0.1,::1"
    assert proxy_exceptions({"NO_PROXY": "intranet"}) == {}
