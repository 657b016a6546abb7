"""Every service's settings, which variables hold their secrets, and secrets to be looked
for afterwards.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.analyzer.settings import Settings as AnalyzerSettings
from services.cli.control.control import KeySettings
from services.cli.security.tuning import TuningSettings
from services.common.control.access.settings import AccessSettings
from services.common.process.settings import CommonSettings
from services.console.settings import Settings as ConsoleSettings
from services.gateway.settings import Settings as GatewaySettings
from services.inference.settings import Settings as InferenceSettings

SETTINGS: tuple[type[CommonSettings], ...] = (
    AnalyzerSettings,
    ConsoleSettings,
    GatewaySettings,
    InferenceSettings,
    KeySettings,
    TuningSettings,
)
"""What services and commands read; a test knows that there are no others."""
BASES = frozenset({CommonSettings, AccessSettings})


def secret_variables() -> set[str]:
    """The variables that hold a secret of any of them."""
    return {
        variable
        for settings in SETTINGS
        for variables in settings.secret_variables().values()
        for variable in variables
    }


PLANTED: Mapping[str, str] = {
    "TOCSIN_KEY_PEPPER": "planted-pepper-Hq7Zk2mV9xTb4LwN",
    "TOCSIN_PSEUDONYM_KEY": "planted-pseudonym-Rj5Yc8nP3sGd6FkW",
    "TOCSIN_JWT_SECRET": "planted-jwt-secret-Uv4Xe7aQ2hMz9BtC-of-32-bytes",
    "TOCSIN_LIMITS_URL": "valkey://limits:planted-valkey-Kp6Sw3fJ8rDy1VgH@127.0.0.1:{closed}/0",
    "TOCSIN_LANGFUSE_SECRET_KEY": "planted-langfuse-Qe8Rv2yT6nJc4WsM",
    "OPENAI_API_KEY": "planted-upstream-Nb2Lt9cE5kXq7ZoA",
}
"""What an installation is given by these variables; {closed} is a port that nobody
listens on. The last is an upstream's, which no setting names.
"""
DRAWN: Mapping[str, tuple[str, ...]] = {
    "TOCSIN_KAFKA_URL": ("kafka_password",),
    "TOCSIN_KAFKA_PASSWORD": ("kafka_password",),
    "TOCSIN_CLICKHOUSE_URL": ("store_passwords", "service"),
    "TOCSIN_GATEWAY_CLICKHOUSE_URL": ("store_passwords", "gateway"),
}
"""What `tocsin up` draws itself, where its home keeps it."""
BY_FILE = frozenset({"TOCSIN_KEY_PEPPER", "TOCSIN_JWT_SECRET", "OPENAI_API_KEY"})
"""Given by a file; the others by the environment."""


def planted_settings(folder: Path, closed: int) -> dict[str, str]:
    """The environment of an installation with all of them; files lie in `folder`."""
    settings = {}
    for name, value in PLANTED.items():
        if name in BY_FILE:
            (folder / name).write_text(f"{value}\n")
            settings[f"{name}_FILE"] = str(folder / name)
        else:
            settings[name] = value.format(closed=closed)
    return settings


def secrets_of(kept: Mapping[str, Any], settings: Mapping[str, str]) -> dict[str, str]:
    """Every secret of a running installation by its name: planted, drawn, and the
    passwords of the store's users. `kept` is what its home keeps.
    """
    found = {name: value for name, value in PLANTED.items() if name != "TOCSIN_LIMITS_URL"}
    found["TOCSIN_LIMITS_URL"] = settings["TOCSIN_LIMITS_URL"].split("@")[0].rpartition(":")[2]
    for user, password in kept["store_passwords"].items():
        found[f"store {user}"] = password
    for name in ("kafka_password", "ray_token", "first_signed_key"):
        found[name] = kept[name]
    return found
