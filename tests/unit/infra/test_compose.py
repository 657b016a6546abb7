"""docker-compose.yml, read as data: what each of its containers listens on and is told."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from services.analyzer.roles import ROLES
from services.common.control.thresholds import DEFAULT_RISK_THRESHOLDS
from services.console.settings import Settings
from services.embedded.clickhouse.engine.chdb_engine import SPEND_COLUMNS

_ROOT = Path(__file__).resolve().parents[3]
_SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())["services"]
_OURS = {name: one for name, one in _SERVICES.items() if "infra/docker" in str(one.get("build"))}
_IMAGE = dict(re.findall(r"(TOCSIN_\w+)=([\w.]+)", (_ROOT / "infra/docker/Dockerfile").read_text()))
_SECRETS = {
    "TOCSIN_KEY_PEPPER": {"gateway", "keys", "console"},
    "TOCSIN_PSEUDONYM_KEY": {"gateway", "console"},
    "TOCSIN_CLICKHOUSE_URL": {"analyzer", "migrate", "console"},
    "TOCSIN_GATEWAY_CLICKHOUSE_URL": {"gateway"},
    "TOCSIN_LANGFUSE_SECRET_KEY": {"console"},
}
_STORE_PASSWORD = re.compile(r"\$\{TOCSIN_CLICKHOUSE_PASSWORD\b")


def listening(service: dict[str, Any]) -> list[int]:
    """The ports on which a container's process listens: those of its environment, over
    the image's own.
    """
    told = _IMAGE | {name: str(value) for name, value in service.get("environment", {}).items()}
    return [int(value) for name, value in told.items() if name.endswith("_PORT")]


@pytest.mark.parametrize("name", sorted(_OURS))
def test_container_listens_on_no_port_twice(name: str) -> None:
    """The health server and the gateway are one process's two servers."""
    ports = listening(_OURS[name])
    assert len(ports) == len(set(ports)), ports


@pytest.mark.parametrize("name", sorted(_OURS))
def test_container_writes_to_tmp_only_and_has_no_privileges(name: str) -> None:
    """Whoever takes a service over can change neither its code nor its rights."""
    service = _OURS[name]
    assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert "user" not in service, "the image's own user is nobody in particular"


def test_image_runs_as_nobody_in_particular() -> None:
    """Its last USER, by number, so that Kubernetes' runAsNonRoot can tell."""
    users = re.findall(r"^USER (.+)$", (_ROOT / "infra/docker/Dockerfile").read_text(), re.MULTILINE)
    assert int(users[-1]) > 0


def test_gateway_publishes_the_port_that_it_listens_on() -> None:
    """What is reached from outside is the API, not the health server."""
    published = [one.rpartition(":")[2] for one in _SERVICES["gateway"]["ports"]]
    assert published == [str(_SERVICES["gateway"]["environment"]["TOCSIN_GATEWAY_PORT"])]


def test_published_ports_are_on_loopback_and_differ() -> None:
    """Nothing is open to the network by default, and no two containers want one port."""
    published = [str(port) for one in _SERVICES.values() for port in one.get("ports", [])]
    assert all(one.startswith("127.0.0.1:") for one in published)
    assert len({one.split(":")[1] for one in published}) == len(published)


def test_every_service_that_records_texts_is_told_what_of_them() -> None:
    """A gateway ends requests too, and the console takes remarks."""
    given = {name for name, one in _SERVICES.items() if "TOCSIN_STORE_TEXT" in one.get("environment", {})}
    assert given == {"ray", "inference", "gateway", "console"}


@pytest.mark.parametrize("secret", sorted(_SECRETS))
def test_secret_is_given_to_those_only_who_need_it(secret: str) -> None:
    """An attacker in a model's container learns neither keys nor the store."""
    given = {name for name, one in _SERVICES.items() if secret in one.get("environment", {})}
    assert given
    assert given <= _SECRETS[secret]


def test_writing_password_of_the_store_is_the_recorders_and_the_consoles() -> None:
    """Under whatever name it is given: the world reaches the gateways."""
    given = {name for name, one in _SERVICES.items() if _STORE_PASSWORD.search(str(one.get("environment")))}
    assert given == {"clickhouse", "migrate", "analyzer", "console"}


def test_gateway_of_a_server_reads_the_columns_that_the_embedded_stores_reads() -> None:
    """One grant, said once for each store; nothing else is granted."""
    mounted = [one for one in _SERVICES["clickhouse"]["volumes"] if one.startswith("./")]
    (source, target, mode) = mounted[0].split(":")
    assert (len(mounted), target, mode) == (1, "/etc/clickhouse-server/users.d/gateway.xml", "ro")
    (user,) = ET.parse(_ROOT / source).getroot().findall("users/*")
    (grant,) = user.findall("grants/query")
    assert grant.text == f"GRANT SELECT({', '.join(SPEND_COLUMNS)}) ON tocsin.inference_events"
    assert "access_management" not in {one.tag for one in user}
    password = user.find("password")
    assert password is not None
    assert password.attrib["from_env"] in _SERVICES["clickhouse"]["environment"]
    url = _SERVICES["gateway"]["environment"]["TOCSIN_GATEWAY_CLICKHOUSE_URL"]
    assert url.startswith(f"http://{user.tag}:${{{password.attrib['from_env']}:")


@pytest.mark.parametrize("name", ["gateway", "console"])
def test_services_that_let_callers_in_know_the_identity_provider(name: str) -> None:
    """Both check tokens: a token that only one of them knew would fail halfway."""
    given = _SERVICES[name]["environment"]
    wanted = {"TOCSIN_JWT_ALGORITHMS", "TOCSIN_JWT_ISSUER", "TOCSIN_JWT_JWKS_URL", "TOCSIN_EGRESS_ALLOWED"}
    assert wanted <= set(given)


def test_analyzers_have_each_role_once() -> None:
    """A role that none has leaves its commands and pages without figures."""
    given = [
        one["environment"].get("TOCSIN_ANALYZER_ROLES", "") for one in _OURS.values() if "environment" in one
    ]
    assert sorted(role for one in given for role in one.split(",") if role) == sorted(ROLES)


@pytest.mark.parametrize("name", ["analyzer", "security", "gateway", "console"])
def test_thresholds_of_risk_hold_wherever_they_are_read(name: str) -> None:
    """As .env has them; where it has none, those of the code."""
    told = _SERVICES[name]["environment"]["TOCSIN_RISK_THRESHOLDS"]
    assert told == f"${{TOCSIN_RISK_THRESHOLDS:-{DEFAULT_RISK_THRESHOLDS}}}"


def test_console_is_told_of_a_langfuse_with_settings_that_it_has() -> None:
    """Erasures reach it, if .env names one; what is not named is as good as not given."""
    told = {name: one for name, one in _SERVICES["console"]["environment"].items() if "LANGFUSE" in name}
    assert {name.removeprefix("TOCSIN_").lower() for name in told} == {
        name for name in Settings.model_fields if name.startswith("langfuse_")
    }
    assert {one.rpartition(":-")[2] for one in told.values()} == {"}", "false}"}
