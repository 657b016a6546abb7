"""What `tocsin up` runs: the table of processes, each with its command, environment,
port and probes. A further service is a further line in `build_table`.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from services.common.process.settings import joined_kafka_url
from services.embedded.clickhouse.users import INSTALLED, create_users_file
from services.embedded.installation.child_environment import SECRETS
from services.embedded.installation.home import Home
from services.embedded.installation.ports import LOOPBACK, free_port, is_listening
from services.embedded.installation.private_ray import ray_environment
from services.embedded.kafka.broker import PASSWORD_VARIABLE, Distribution, kafka_url, serves
from services.embedded.supervision.processes import ROOT, ProcessSpec, http_probe, in_thread

DEFAULT_PORTS = {
    "gateway": 8000,
    "inference": 8011,
    "analyzer": 8012,
    "console": 8013,
    "clickhouse": 8123,
    "kafka": 19092,
    "kafka-controller": 19093,
}
_PARTITION_SCALE = "0.125"  # every partition costs three files, and one machine has no use for twelve


@dataclass(frozen=True)
class Given:
    """What the user runs already, by the environment: that is used and not started."""

    kafka_url: str | None
    clickhouse_url: str | None

    @classmethod
    def read(cls, environ: Mapping[str, str], ours: Mapping[str, str]) -> "Given":
        """Reads `TOCSIN_KAFKA_URL` (with the login of `TOCSIN_KAFKA_*`) and
        `TOCSIN_CLICKHOUSE_URL`.

        `ours` are the addresses that this home's own connection.env sets: in a shell
        that sourced it they mean nothing more than the default.

        Raises:
            ConfigError: Kafka's address is none.
        """
        kafka_url, clickhouse_url = (
            environ.get(name) or None for name in ("TOCSIN_KAFKA_URL", "TOCSIN_CLICKHOUSE_URL")
        )
        if kafka_url and kafka_url != ours.get("kafka"):
            named = {name.removeprefix("TOCSIN_").lower(): value for name, value in environ.items()}
            kafka_url = joined_kafka_url(named)
        return cls(
            kafka_url if kafka_url != ours.get("kafka") else None,
            clickhouse_url if clickhouse_url != ours.get("clickhouse") else None,
        )


@dataclass(frozen=True)
class Addresses:
    """Where everything listens."""

    ports: Mapping[str, int]
    given: Given
    kafka_password: str = field(default="", repr=False)
    host: str = LOOPBACK
    """Where the gateways listen; everything else listens on loopback."""

    @property
    def gateway_host(self) -> str:
        """An address of this machine at which the gateways are reached."""
        return {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)  # noqa: S104 (it is what the user set)

    @property
    def gateway_url(self) -> str:
        """The (first) gateway."""
        return self.url_of("gateway")

    def url_of(self, role: str) -> str:
        """A gateway or another service."""
        host = self.gateway_host if role.startswith("gateway") else LOOPBACK
        return f"http://{f'[{host}]' if ':' in host else host}:{self.ports[role]}"

    @property
    def kafka_url(self) -> str:
        """The bus, with the login."""
        return self.given.kafka_url or kafka_url(self.ports["kafka"], self.kafka_password)

    @property
    def clickhouse_url(self) -> str:
        """The store, without user or password."""
        if self.given.clickhouse_url is None:
            return f"http://127.0.0.1:{self.ports['clickhouse']}/tocsin"
        parts = urlsplit(self.given.clickhouse_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def ours(self) -> dict[str, str]:
        """Those of the bus and the store that are started here, for `Given.read` the
        next time.
        """
        kafka = {"kafka": self.kafka_url} if self.given.kafka_url is None else {}
        return kafka | ({"clickhouse": self.clickhouse_url} if self.given.clickhouse_url is None else {})

    def clickhouse_url_of(self, user: str, password: str) -> str:
        """The store as one of its users sees it; a store that was given keeps the user
        that it was given with.
        """
        if self.given.clickhouse_url is not None:
            return self.given.clickhouse_url
        return self.clickhouse_url.replace("http://", f"http://{quote(user)}:{quote(password, safe='')}@", 1)


def choose_ports(
    gateways: int, remembered: Mapping[str, int], wished: Mapping[str, int], host: str = LOOPBACK
) -> dict[str, int]:
    """A free port for each role: the one wished for, else the one it had the last time,
    else the default, else any. The gateways' are consecutive, and free on `host`.
    """
    chosen: dict[str, int] = {}
    for name, default in DEFAULT_PORTS.items():
        count = gateways if name == "gateway" else 1
        first = free_port(
            wished.get(name) or remembered.get(name) or default,
            taken=chosen.values(),
            count=count,
            host=host if name == "gateway" else LOOPBACK,
        )
        roles = gateway_roles(gateways) if name == "gateway" else [name]
        chosen |= {role: first + number for number, role in enumerate(roles)}
    return chosen


def unusual_ports(ports: Mapping[str, int]) -> str:
    """What to tell of the ports that are not the ones a reader of the documentation
    expects; empty if all are.
    """
    return ", ".join(
        f"{role} on {ports[role]} instead of {default}"
        for role, default in DEFAULT_PORTS.items()
        if ports[role] != default
    )


def gateway_roles(gateways: int) -> list[str]:
    """gateway, gateway-2, gateway-3, …"""
    return ["gateway", *(f"gateway-{number}" for number in range(2, gateways + 1))]


def store_passwords(home: Home) -> dict[str, str]:
    """The passwords of the embedded store's users, by name; drawn the first time, and
    for a user that is new.
    """
    kept = home.secrets()
    known = dict(kept.get("store_passwords", {})) if home.store_users.exists() else {}
    if set(known) == set(INSTALLED):
        return known
    home.store_users.unlink(missing_ok=True)  # it is of no use without its passwords, or without a user
    passwords = create_users_file(home.store_users, known)
    home.keep_secrets(kept | {"store_passwords": passwords})
    return passwords


def service_environment(
    home: Home, addresses: Addresses, passwords: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """What every service and every `tocsin` command of this installation needs to know."""
    kept = home.secrets()
    defaults = {"TOCSIN_LOG_FORMAT": "json", "TOCSIN_PARTITION_SCALE": _PARTITION_SCALE}
    # A path that the user gave is relative to where the user is; commands are typed
    # anywhere, and processes work in the checkout.
    models_file = environ.get("TOCSIN_MODELS_FILE") or ROOT / "infra/models/models.yaml"
    return {name: environ.get(name, value) for name, value in defaults.items()} | {
        "TOCSIN_MODELS_FILE": str(Path(models_file).resolve()),
        "PYTHONUNBUFFERED": "1",
        "TOCSIN_HOME": str(home.root),
        "TOCSIN_HOST": addresses.host,
        "TOCSIN_KAFKA_URL": addresses.kafka_url,
        "TOCSIN_CLICKHOUSE_URL": addresses.clickhouse_url_of("service", passwords.get("service", "")),
        # Gateways, which the world reaches, only read what requests cost.
        "TOCSIN_GATEWAY_CLICKHOUSE_URL": environ.get("TOCSIN_GATEWAY_CLICKHOUSE_URL")
        or addresses.clickhouse_url_of("gateway", passwords.get("gateway", "")),
        "TOCSIN_KEY_PEPPER": environ.get("TOCSIN_KEY_PEPPER") or kept["key_pepper"],
        **ray_environment(home, environ),
        "TOCSIN_PSEUDONYM_KEY": environ.get("TOCSIN_PSEUDONYM_KEY") or kept["pseudonym_key"],
    }


def build_table(
    home: Home,
    addresses: Addresses,
    environment: Mapping[str, str],
    *,
    admin_url: str,
    gateways: int,
    distribution: Distribution | None,
) -> list[ProcessSpec]:
    """The processes in the order of their start; they stop in the reverse order."""
    servers = list(_servers(home, addresses))
    steps = [
        _step("topics", environment, after=("kafka",) if addresses.given.kafka_url is None else ()),
        _step(
            "migrate",
            {**environment, "TOCSIN_CLICKHOUSE_URL": admin_url},
            after=("store",) if addresses.given.clickhouse_url is None else (),
        ),
    ]
    services = [
        _service("analyzer", addresses, environment, after=("topics", "migrate")),
        _service("inference", addresses, environment, after=("topics",)),
        _service("console", addresses, environment, after=("topics", "migrate")),
        *(
            _service(role, addresses, environment, after=("topics",))
            for role in reversed(gateway_roles(gateways))
        ),
    ]
    table = [*servers, *steps, *services]
    if distribution and distribution.aot and not distribution.aot.exists():
        # Off to the side once all is ready, so that the next start of Kafka is quicker.
        table.append(
            _program(
                "aot",
                "services.embedded.kafka.aot_cache",
                after=tuple(spec.role for spec in table),
                once=True,
                required=False,
                stop_timeout_s=2,
            )
        )
    return table


def _servers(home: Home, addresses: Addresses) -> Iterator[ProcessSpec]:
    ports = addresses.ports
    if addresses.given.kafka_url is None:
        port, controller = ports["kafka"], ports["kafka-controller"]
        yield _program(
            "kafka",
            "services.embedded.kafka.broker",
            "--dir",
            str(home.kafka),
            "--port",
            str(port),
            "--controller-port",
            str(controller),
            port=port,
            env={PASSWORD_VARIABLE: addresses.kafka_password},
            ready=lambda: in_thread(serves, port, addresses.kafka_password),
            alive=lambda: in_thread(is_listening, port),
        )
    if addresses.given.clickhouse_url is None:
        port_, users = ports["clickhouse"], str(home.store_users)
        yield _program(
            "store",
            "services.embedded.clickhouse",
            "--path",
            str(home.store),
            "--port",
            str(port_),
            "--users",
            users,
            port=port_,
            ready=http_probe(port_, "/ping"),
            alive=http_probe(port_, "/ping"),
        )


def _step(command: str, environment: Mapping[str, str], *, after: tuple[str, ...]) -> ProcessSpec:
    return _program(
        command,
        "services.cli",
        command,
        env=_needed_by(command, environment),
        after=after,
        once=True,
    )


def _listening(kind: str, addresses: Addresses, port: int) -> dict[str, str]:
    """Where a service listens, and whom the gateway and the console must find."""
    if kind == "gateway":
        return {"TOCSIN_GATEWAY_PORT": str(port), "TOCSIN_CONSOLE_URL": addresses.url_of("console")}
    if kind == "console":
        told = {
            role: addresses.url_of(role)
            for role in sorted(addresses.ports)
            if role in ("analyzer", "inference") or role.startswith("gateway")
        }
        return {
            "TOCSIN_CONSOLE_PORT": str(port),
            "TOCSIN_HOST": LOOPBACK,
            "TOCSIN_CONSOLE_HEALTH_URLS": ",".join(f"{role}={url}" for role, url in told.items()),
        }
    return {"TOCSIN_HEALTH_PORT": str(port), "TOCSIN_HOST": LOOPBACK}


def _service(
    role: str, addresses: Addresses, environment: Mapping[str, str], *, after: tuple[str, ...]
) -> ProcessSpec:
    port, kind = addresses.ports[role], role.split("-", maxsplit=1)[0]
    is_gateway = kind == "gateway"
    host = addresses.gateway_host if is_gateway else LOOPBACK
    listens = _listening(kind, addresses, port)
    return _program(
        role,
        f"services.{kind}",
        env=_needed_by(kind, environment) | listens,
        port=port,
        host=host,
        ready=http_probe(port, "/ready", host),
        alive=http_probe(port, "/health", host),
        after=after,
    )


def _needed_by(kind: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the secrets of others."""
    others = {name for name, kinds in SECRETS.items() if kind not in kinds}
    return {
        name: value
        for name, value in environment.items()
        if name not in others and (kind == "inference" or not name.startswith("RAY_"))
    }


def _program(role: str, module: str, *arguments: str, **fields: object) -> ProcessSpec:
    return ProcessSpec(role, (sys.executable, "-m", module, *arguments), **fields)  # type: ignore[arg-type]
