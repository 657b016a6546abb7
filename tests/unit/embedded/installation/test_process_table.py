"""The table of `tocsin up` as data: what is started, where, after what, and what each
process is told.
"""

import json
from pathlib import Path

import pytest

from services.embedded.installation.home import Home
from services.embedded.installation.process_table import (
    DEFAULT_PORTS,
    Addresses,
    Given,
    build_table,
    service_environment,
    store_passwords,
)
from services.embedded.kafka.broker import PASSWORD_VARIABLE, Distribution
from services.embedded.supervision.processes import ProcessSpec

NOTHING = Given(None, None)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A new home."""
    made = Home(tmp_path / "home")
    made.create()
    return made


def table_of(
    home: Home, given: Given, *, gateways: int = 1, distribution: Distribution | None = None
) -> dict[str, ProcessSpec]:
    """The table by role."""
    ports = DEFAULT_PORTS | {f"gateway-{number}": 8000 + number - 1 for number in range(2, gateways + 1)}
    addresses = Addresses(ports, given)
    environment = service_environment(home, addresses, store_passwords(home), {})
    table = build_table(
        home, addresses, environment, admin_url="http://admin@x", gateways=gateways, distribution=distribution
    )
    return {spec.role: spec for spec in table}


def test_table_names_each_process_after_those_it_waits_for(home: Home) -> None:
    """The order of the table is one in which everything can start, and its reverse
    drains the gateway first and Kafka last.
    """
    table = table_of(home, NOTHING)
    roles = list(table)
    assert roles == ["kafka", "store", "topics", "migrate", "analyzer", "inference", "console", "gateway"]
    assert all(
        roles.index(earlier) < roles.index(role) for role, spec in table.items() for earlier in spec.after
    )


def test_table_with_a_given_bus_and_store_starts_neither(home: Home) -> None:
    """What the user runs already is used."""
    table = table_of(home, Given("kafka.example:9092", "http://me:pw@store.example:8123/tocsin"))
    assert "kafka" not in table
    assert "store" not in table
    assert table["topics"].after == ()
    assert table["gateway"].env["TOCSIN_KAFKA_URL"] == "kafka.example:9092"
    assert table["analyzer"].env["TOCSIN_CLICKHOUSE_URL"] == "http://me:pw@store.example:8123/tocsin"


def test_table_with_several_gateways_gives_each_its_port(home: Home) -> None:
    """Gateways are told apart by number and stopped together."""
    table = table_of(home, NOTHING, gateways=3)
    assert [table[role].env["TOCSIN_GATEWAY_PORT"] for role in ("gateway", "gateway-2", "gateway-3")] == [
        "8000",
        "8001",
        "8002",
    ]
    assert {table[role].kind for role in ("gateway", "gateway-2", "gateway-3")} == {"gateway"}


def test_table_without_javas_image_has_it_made_last_and_waits_for_nobody(home: Home, tmp_path: Path) -> None:
    """The image is made once everything is ready, and its failure stops nothing."""
    image = tmp_path / "kafka.aot"
    spec = table_of(home, NOTHING, distribution=Distribution((), image))["aot"]
    assert spec.once
    assert not spec.required
    assert "gateway" in spec.after
    image.touch()
    assert "aot" not in table_of(home, NOTHING, distribution=Distribution((), image))


def test_environment_of_services_has_the_secrets_and_of_servers_has_not(home: Home) -> None:
    """Kafka and the store need no keys of ours, and only the migration step is the
    store's administrator.
    """
    table = table_of(home, NOTHING)
    passwords = store_passwords(home)
    assert table["gateway"].env["TOCSIN_KEY_PEPPER"] == home.secrets()["key_pepper"]
    assert (
        table["analyzer"].env["TOCSIN_CLICKHOUSE_URL"]
        == f"http://service:{passwords['service']}@127.0.0.1:8123/tocsin"
    )
    assert table["migrate"].env["TOCSIN_CLICKHOUSE_URL"] == "http://admin@x"
    assert (
        table["gateway"].env["TOCSIN_GATEWAY_CLICKHOUSE_URL"]
        == f"http://gateway:{passwords['gateway']}@127.0.0.1:8123/tocsin"
    )
    assert set(table["kafka"].env) == {PASSWORD_VARIABLE}
    assert not any(name.startswith("TOCSIN") for name in table["store"].env)
    for role, secret in (
        ("inference", "TOCSIN_KEY_PEPPER"),
        ("inference", "TOCSIN_CLICKHOUSE_URL"),
        ("analyzer", "TOCSIN_PSEUDONYM_KEY"),
        ("inference", "TOCSIN_GATEWAY_CLICKHOUSE_URL"),
        ("gateway", "TOCSIN_CLICKHOUSE_URL"),
        ("gateway", "RAY_AUTH_TOKEN"),
        ("migrate", "TOCSIN_KEY_PEPPER"),
        ("topics", "TOCSIN_CLICKHOUSE_URL"),
    ):
        assert secret not in table[role].env, (role, secret)
    assert not any(passwords["service"] in argument for spec in table.values() for argument in spec.argv)


def test_environment_prefers_what_the_user_set(home: Home) -> None:
    """A log format, a pepper or a host of the user's own is passed on."""
    user = {"TOCSIN_LOG_FORMAT": "console", "TOCSIN_KEY_PEPPER": "mine", "TOCSIN_PARTITION_SCALE": "1"}
    environment = service_environment(home, Addresses(DEFAULT_PORTS, NOTHING), store_passwords(home), user)
    assert {name: environment[name] for name in user} == user


def test_environment_with_a_relative_models_file_names_it_in_full(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The services work elsewhere than the user who named it."""
    monkeypatch.chdir(tmp_path)
    environment = service_environment(
        home, Addresses(DEFAULT_PORTS, NOTHING), store_passwords(home), {"TOCSIN_MODELS_FILE": "mine.yaml"}
    )
    assert environment["TOCSIN_MODELS_FILE"] == str(tmp_path / "mine.yaml")
    common = service_environment(home, Addresses(DEFAULT_PORTS, NOTHING), store_passwords(home), {})
    assert Path(common["TOCSIN_MODELS_FILE"]).is_absolute()
    assert Path(common["TOCSIN_MODELS_FILE"]).exists()


def test_given_in_a_shell_that_sourced_connection_env_is_nothing() -> None:
    """The addresses of this home's own bus and store do not keep it from starting them."""
    addresses = Addresses(DEFAULT_PORTS, NOTHING)
    sourced = {"TOCSIN_KAFKA_URL": addresses.kafka_url, "TOCSIN_CLICKHOUSE_URL": addresses.clickhouse_url}
    assert Given.read(sourced, addresses.ours) == NOTHING
    assert Given.read(sourced, {}) == Given(addresses.kafka_url, addresses.clickhouse_url)


def test_given_addresses_are_not_taken_for_our_own_the_next_time() -> None:
    """Only what was started here is ours."""
    assert Addresses(DEFAULT_PORTS, Given("kafka.example:9092", "http://x/tocsin")).ours == {}


def test_clickhouse_url_shown_to_people_has_no_password() -> None:
    """The address in connection.env is without user and password, also of a store that
    was given with both.
    """
    addresses = Addresses(DEFAULT_PORTS, Given(None, "http://me:secret@store.example:8123/tocsin"))
    assert addresses.clickhouse_url == "http://store.example:8123/tocsin"
    assert addresses.clickhouse_url_of("admin", "other") == "http://me:secret@store.example:8123/tocsin"


def test_store_passwords_drawn_once_fit_the_users_file(home: Home) -> None:
    """They stay while both files do, also where a user is new; without one of the files
    they are drawn anew.
    """
    first = store_passwords(home)
    assert set(first) == {"admin", "service", "analyst", "gateway"}
    assert store_passwords(home) == first
    before = {name: password for name, password in first.items() if name != "gateway"}
    home.keep_secrets(home.secrets() | {"store_passwords": before})
    first = store_passwords(home)
    assert {name: first[name] for name in before} == before
    home.store_users.unlink()
    assert store_passwords(home)["analyst"] != first["analyst"]
    assert {user["name"] for user in json.loads(home.store_users.read_text())["users"]} == set(first)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("10.1.2.3", "http://10.1.2.3:8000"),
    ],
)
def test_table_with_a_host_opens_the_gateway_only(home: Home, host: str, url: str) -> None:
    """The gateway listens there and is asked there; all else stays on loopback."""
    addresses = Addresses(DEFAULT_PORTS, NOTHING, "pw", host)
    environment = service_environment(home, addresses, store_passwords(home), {})
    table = build_table(home, addresses, environment, admin_url="http://a@x", gateways=1, distribution=None)
    told = {spec.role: (spec.env.get("TOCSIN_HOST"), spec.host) for spec in table}
    assert addresses.gateway_url == url
    assert told["gateway"] == (host, addresses.gateway_host)
    assert told["inference"] == told["analyzer"] == ("127.0.0.1", "127.0.0.1")


def test_given_kafka_with_a_login_is_one_address() -> None:
    """The login of the other variables goes where the address goes."""
    environ = {
        "TOCSIN_KAFKA_URL": "kafka:1",
        "TOCSIN_KAFKA_USERNAME": "me",
        "TOCSIN_KAFKA_PASSWORD": "pw",
        "TOCSIN_KAFKA_SASL_MECHANISM": "PLAIN",
    }
    assert Given.read(environ, {}).kafka_url == "sasl_ssl://me:pw@kafka:1?mechanism=PLAIN"


def test_table_has_the_console_found_by_gateways_and_asking_every_service(home: Home) -> None:
    """It listens on loopback; gateways pass on to it; it asks all for their health."""
    table = table_of(home, NOTHING, gateways=2)
    assert table["gateway-2"].env["TOCSIN_CONSOLE_URL"] == "http://127.0.0.1:8013"
    console = table["console"]
    assert (console.env["TOCSIN_CONSOLE_PORT"], console.env["TOCSIN_HOST"]) == ("8013", "127.0.0.1")
    assert console.env["TOCSIN_CONSOLE_HEALTH_URLS"].split(",") == [
        "analyzer=http://127.0.0.1:8012",
        "gateway=http://127.0.0.1:8000",
        "gateway-2=http://127.0.0.1:8001",
        "inference=http://127.0.0.1:8011",
    ]
    assert {"TOCSIN_KEY_PEPPER", "TOCSIN_CLICKHOUSE_URL", "TOCSIN_PSEUDONYM_KEY"} <= set(console.env)
