"""Kafka's address: what is read, what is refused, and that no password is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import ConfigError
from services.common.process.kafka_address import KafkaAddress, connection_options, without_password
from services.common.process.settings import CommonSettings


def test_options_of_a_bare_address_ask_for_no_login() -> None:
    """What worked before works on."""
    assert connection_options("a:1,b:2") == {"bootstrap_servers": "a:1,b:2"}


def test_options_of_an_address_with_a_login_log_in() -> None:
    """The user, the password and the mechanism reach the driver."""
    options = connection_options("sasl_plaintext://t%40c:p%3Aw%2F@127.0.0.1:9?mechanism=PLAIN")
    assert options == {
        "bootstrap_servers": "127.0.0.1:9",
        "security_protocol": "SASL_PLAINTEXT",
        "ssl_context": None,
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "t@c",
        "sasl_plain_password": "p:w/",
    }


def test_address_with_a_user_and_no_protocol_encrypts() -> None:
    """A password crosses a network in clear only where somebody asked for it."""
    assert connection_options("me:pw@kafka:9093")["ssl_context"] is not None
    settings = CommonSettings.load(kafka_url="kafka:9093", kafka_username="me", kafka_password="pw")
    assert KafkaAddress.parse(settings.kafka_url).protocol == "sasl_ssl"


@given(st.text(min_size=1), st.text(min_size=1), st.sampled_from(["sasl_plaintext", "sasl_ssl"]))
def test_address_written_and_read_again_is_the_same(user: str, password: str, protocol: str) -> None:
    """Whatever characters a password has."""
    try:
        address = KafkaAddress("a:1,[::1]:2", protocol, user, password, "PLAIN", "/etc/c a.pem")
        url = address.url
    except UnicodeEncodeError:  # a lone surrogate is no text
        return
    assert KafkaAddress.parse(url) == address
    assert without_password(url) == f"{protocol}://{user}@a:1,[::1]:2"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka", "no server of Kafka"),
        ("kafka:0", "no server of Kafka"),
        ("kafka:99999", "no server of Kafka"),
        ("http://kafka:1", "'http' is unknown"),
        ("plaintext://me:hidden@kafka:1", "the protocol that logs in"),
        ("sasl_ssl://kafka:1", "set TOCSIN_KAFKA_USERNAME"),
        ("sasl_ssl://me@kafka:1", "no password"),
        ("sasl_ssl://me:hidden@kafka:1?mechanism=GSSAPI", "GSSAPI"),
        ("sasl_ssl://me:hidden@kafka:1?nonsense=1", "nonsense"),
    ],
)
def test_address_that_is_none_is_refused_without_its_password(url: str, said: str) -> None:
    """The message says what is wrong, and shows no secret."""
    with pytest.raises(ConfigError, match=said) as raised:
        KafkaAddress.parse(url)
    assert "hidden" not in str(raised.value)
    assert "hidden" not in without_password(url)


def test_options_with_a_missing_certificate_file_say_which(tmp_path: object) -> None:
    """A wrong path is told by the setting's name."""
    with pytest.raises(ConfigError, match="TOCSIN_KAFKA_CA_FILE"):
        connection_options(f"ssl://kafka:1?ca={tmp_path}/none.pem")


def test_settings_join_the_login_into_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kafka_url` is all that is passed on, so it holds all that is needed."""
    for name, value in {
        "URL": "kafka:9092",
        "USERNAME": "me",
        "PASSWORD": "p w",
        "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "SASL_MECHANISM": "SCRAM-SHA-256",
    }.items():
        monkeypatch.setenv(f"TOCSIN_KAFKA_{name}", value)
    settings = CommonSettings.load()
    assert settings.kafka_url == "sasl_plaintext://me:p%20w@kafka:9092?mechanism=SCRAM-SHA-256"
    assert "p%20w" not in repr(settings)
    assert "p w" not in repr(settings)


def test_settings_with_a_login_in_the_address_let_it_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that somebody wrote out whole is not mended by what lies around."""
    monkeypatch.setenv("TOCSIN_KAFKA_URL", "sasl_ssl://you:theirs@kafka:1")
    monkeypatch.setenv("TOCSIN_KAFKA_USERNAME", "me")
    monkeypatch.setenv("TOCSIN_KAFKA_PASSWORD", "mine")
    assert CommonSettings.load().kafka_url == "sasl_ssl://you:theirs@kafka:1?mechanism=SCRAM-SHA-512"
