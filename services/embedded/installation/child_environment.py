"""The environment of the processes that `tocsin up` starts: the user's, without what
would lead them elsewhere.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from services.common.process.secret_files import SUFFIX

_PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
SECRETS = {
    "TOCSIN_KAFKA_URL": {"topics", "analyzer", "inference", "console", "gateway"},
    "TOCSIN_KEY_PEPPER": {"console", "gateway"},
    "TOCSIN_PSEUDONYM_KEY": {"console", "gateway"},
    "TOCSIN_CLICKHOUSE_URL": {"migrate", "analyzer", "console"},
    "TOCSIN_GATEWAY_CLICKHOUSE_URL": {"gateway"},
    "TOCSIN_JWT_SECRET": {"console", "gateway"},
    "TOCSIN_LIMITS_URL": {"gateway"},
    "TOCSIN_LANGFUSE_SECRET_KEY": {"console"},
    "TOCSIN_ANALYST_PASSWORD": set(),
    "OPENAI_API_KEY": {"inference"},  # an upstream's; where connection.env was sourced, the first key
}
"""Which kinds of process are given which secret, itself or by a file; of other names
those that sound like an upstream's key are inference's, the rest is everybody's.
"""
_UPSTREAMS = {"inference"}
_SOUNDS_SECRET = re.compile(r"(?!TOCSIN_|RAY_)\w*(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)")
# Java would take its options from these, Ray its cluster, Python the encoding of its
# pipes; and what names one process must not name several.
_DROPPED = {
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "CLASSPATH",
    "LANG",
    "LANGUAGE",
    "PYTHONIOENCODING",
    "PYTHONLEGACYWINDOWSSTDIO",
    "TOCSIN_INSTANCE",
    "TOCSIN_HEALTH_PORT",
    "TOCSIN_GATEWAY_PORT",
    # They are part of TOCSIN_KAFKA_URL by now.
    "TOCSIN_KAFKA_USERNAME",
    "TOCSIN_KAFKA_PASSWORD",
    "TOCSIN_KAFKA_PASSWORD_FILE",
    "TOCSIN_KAFKA_SECURITY_PROTOCOL",
    "TOCSIN_KAFKA_SASL_MECHANISM",
    "TOCSIN_KAFKA_CA_FILE",
}


def child_environment(
    environ: Mapping[str, str], own: Mapping[str, str] | None = None, kind: str = ""
) -> dict[str, str]:
    """What a child process is given: `environ` made safe and without the secrets that
    its `kind` does not need, then what is its `own`.

    Times are UTC, texts UTF-8, and no proxy stands between processes of this machine,
    whatever TZ, LC_ALL and HTTP_PROXY say. Of `RAY_*` only Ray's lower-case flags stay:
    the others say which cluster to join, and that is `TOCSIN_RAY_ADDRESS`'s. A secret's
    file goes by its whole path, and only where the secret is not the child's `own`.
    """
    kept = {
        name: _whole_path(name, value)
        for name, value in environ.items()
        if not _is_dropped(name)
        and kind in _given_to(name.removesuffix(SUFFIX), kind)
        and not (own and name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in own)
    }
    safe = {"TZ": "UTC", "PYTHONUTF8": "1"} | proxy_exceptions(environ)
    if sys.platform == "linux":
        safe["LC_ALL"] = "C.UTF-8"
    return kept | safe | dict(own or {})


def with_whole_paths(environ: Mapping[str, str]) -> dict[str, str]:
    """The same environment for a process that works elsewhere: files of secrets go by
    their whole path.
    """
    return {name: _whole_path(name, value) for name, value in environ.items()}


def proxy_exceptions(environ: Mapping[str, str]) -> dict[str, str]:
    """`NO_PROXY` with this machine's own addresses; nothing where no proxy is set."""
    if not any(environ.get(name) for name in _PROXIES):
        return {}
    no_proxy = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    hosts = [one.strip() for one in no_proxy.split(",") if one.strip()]
    joined = ",".join([*hosts, *(one for one in _LOOPBACK if one not in hosts)])
    return {"NO_PROXY": joined, "no_proxy": joined}


def _given_to(name: str, kind: str) -> set[str]:
    if name in SECRETS:
        return SECRETS[name]
    return _UPSTREAMS if _SOUNDS_SECRET.fullmatch(name) else {kind}


def _whole_path(name: str, value: str) -> str:
    """Children work elsewhere than where the user named a secret's file."""
    base = name.removesuffix(SUFFIX)
    is_file = base != name and (base in SECRETS or _SOUNDS_SECRET.fullmatch(base))
    return str(Path(value).resolve()) if is_file and value else value


def _is_dropped(name: str) -> bool:
    if name.startswith("RAY_"):
        return not name.removeprefix("RAY_")[:1].islower()
    return name in _DROPPED or name.startswith("LC_")
