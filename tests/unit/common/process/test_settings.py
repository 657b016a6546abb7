"""Settings from the environment: what a wrong one says, and what it does not show."""

import pytest
from pydantic import AliasChoices, Field, SecretStr

from services.common.errors import ConfigError
from services.common.process.settings import CommonSettings


class _WithSecrets(CommonSettings):
    key_pepper: SecretStr = Field(min_length=16, description="the pepper")
    token: SecretStr | None = Field(None, min_length=16)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOCSIN_KEY_PEPPER", "short-pepper"),
        ("TOCSIN_TOKEN", "short-token"),
        ("TOCSIN_KAFKA_URL", "sasl_ssl://me:short-word@nowhere"),
    ],
)
def test_settings_with_a_wrong_secret_name_it_and_do_not_show_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """What is wrong goes to a log; the secret does not."""
    monkeypatch.setenv("TOCSIN_KEY_PEPPER", "p" * 16)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name) as raised:
        _WithSecrets.load()
    assert "short" not in str(raised.value)


def test_settings_with_a_wrong_value_show_it_and_say_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no secret is shown."""
    monkeypatch.setenv("TOCSIN_HEALTH_PORT", "eight")
    with pytest.raises(ConfigError, match=r"TOCSIN_HEALTH_PORT='eight'.*Port of /health"):
        CommonSettings.load()


class _WithPort(CommonSettings):
    port: int = Field(8000, validation_alias=AliasChoices("port", "TOCSIN_OUR_PORT"))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TOCSIN_OUR_PORT", "huit", "TOCSIN_OUR_PORT='huit': use a whole number such as 20"),
        (
            "TOCSIN_PARTITION_SCALE",
            "0,5",
            "TOCSIN_PARTITION_SCALE='0,5': use a point before the decimals, 0.5",
        ),
        ("TOCSIN_LOG_LEVEL", "tout", "TOCSIN_LOG_LEVEL='tout': use 'debug', 'info', 'warning' or 'error'"),
    ],
)
def test_settings_with_a_wrong_value_name_the_variable_and_what_to_write(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    """By the name that was set, also where the field is called otherwise."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as raised:
        _WithPort.load()
    assert str(raised.value).startswith(told)
