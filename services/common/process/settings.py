"""Settings from `TOCSIN_*` environment variables; each service adds its own to these.

What is secret may also be in a file that `TOCSIN_…_FILE` names.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.errors import ConfigError, MissingSettingError
from services.common.errors.value_rules import rule_of
from services.common.process.kafka_address import KafkaAddress
from services.common.process.secret_files import secret_of


class CommonSettings(BaseSettings):
    """What every service needs to know."""

    model_config = SettingsConfigDict(env_prefix="TOCSIN_", frozen=True, extra="ignore")

    kafka_url: str = Field(
        "127.0.0.1:9092",
        repr=False,
        description="Kafka's bootstrap servers, host:port[,host:port]; a login may be part of it, "
        "sasl_ssl://user:password@host:port.",
    )
    kafka_username: str = Field("", description="Kafka's user, where TOCSIN_KAFKA_URL names none.")
    kafka_password: SecretStr = Field(SecretStr(""), description="That user's password.")
    kafka_security_protocol: str = Field(
        "",
        description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; with a user SASL_SSL if left out.",
    )
    kafka_sasl_mechanism: str = Field("", description="SCRAM-SHA-512 (if left out), SCRAM-SHA-256 or PLAIN.")
    kafka_ca_file: str = Field(
        "", description="PEM file of the certificates that Kafka's is checked against; else the system's."
    )
    clickhouse_url: str = Field(
        "http://default@127.0.0.1:8123/tocsin",
        repr=False,
        description="ClickHouse's HTTP address with user, password and database.",
    )
    instance: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        description="This process's name; unique among its kind.",
    )
    host: str = Field("127.0.0.1", description="The address to listen on.")
    health_port: int = Field(
        0, ge=0, le=65535, description="Port of /health, /ready and /metrics; 0 means none."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    models_file: str = Field("infra/models/models.yaml", description="The catalogue of models.")
    store_text: Literal["masked", "none", "raw"] = Field(
        "masked",
        description="What is recorded of prompts and answers: 'masked' without personal data and secrets, "
        "'raw' as they are, 'none' nothing, of any tenant. A tenant's policy goes before 'masked' and 'raw'.",
    )
    partition_scale: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the full partition counts to provision; 0.125 suits one machine.",
    )
    otlp_endpoint: str = Field(
        "",
        description="OTLP/HTTP endpoint for spans; empty means that trace context is passed on and "
        "nothing exported.",
    )
    drain_timeout_s: float = Field(
        20.0, gt=0, description="How long a stopping process may finish what it has begun."
    )

    @model_validator(mode="before")
    @classmethod
    def _join_kafka_login(cls, values: dict[str, Any]) -> dict[str, Any]:
        """`kafka_url` becomes the whole address, with the login of the other settings:
        it is all that is passed on.
        """
        return values | {"kafka_url": joined_kafka_url(values, cls.model_fields["kafka_url"].default)}

    @field_validator("store_text", mode="before")
    @classmethod
    def _masked_where_empty(cls, given: object) -> object:
        """Empty is what is not set, as compose and .env files have it."""
        return given or "masked"

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Reads the environment, and the files that it names.

        Raises:
            ConfigError: a value is malformed, or a file is none; the message names the
                variable, what was wrong and what it is for.
        """
        secrets = {name: secret_of(os.environ, *names) for name, names in cls.secret_variables().items()}
        given = {name: value for name, value in secrets.items() if value is not None}
        try:
            return cls(**(given | overrides))
        except ValidationError as error:
            said = "\n".join(_explain(cls, problem) for problem in error.errors())
            is_missing = any(problem["type"] == "missing" for problem in error.errors())
            raise (MissingSettingError if is_missing else ConfigError)(said) from error

    @classmethod
    def secret_variables(cls) -> dict[str, tuple[str, ...]]:
        """The fields that hold secrets, each with the variables that set it, the first
        that is set counts.
        """
        return {
            name: _variables(name, field) for name, field in cls.model_fields.items() if _is_secret(field)
        }


def joined_kafka_url(values: Mapping[str, Any], default: str = "") -> str:
    """The whole address from `kafka_url` and the other `kafka_…` settings.

    Raises:
        ConfigError: together they are no address.
    """
    url = str(values.get("kafka_url") or default)
    given = {
        "protocol": _text(values.get("kafka_security_protocol") or "").lower(),
        "username": values.get("kafka_username"),
        "password": values.get("kafka_password"),
        "mechanism": values.get("kafka_sasl_mechanism"),
        "ca": values.get("kafka_ca_file"),
    }
    return KafkaAddress.parse(url, **{name: _text(value) for name, value in given.items() if value}).url


def _text(value: Any) -> str:
    return str(value.get_secret_value() if isinstance(value, SecretStr) else value)


def _explain(settings: type[CommonSettings], problem: Any) -> str:
    if not problem["loc"]:  # of several settings, which the message names
        return str(problem["msg"])
    name = str(problem["loc"][0])
    field = settings.model_fields.get(name)
    purpose = f" It is: {field.description}" if field and field.description else ""
    # What may hold a secret is not shown, not even where it is wrong.
    shown = "" if field is None or _is_secret(field) else f"={problem.get('input')!r}"
    return f"{_variable(name, field)}{shown}: {rule_of(problem)}.{purpose}"


def _variable(name: str, field: FieldInfo | None) -> str:
    """The variable that sets a field, by the name that is documented."""
    return _variables(name, field)[0]


def _variables(name: str, field: FieldInfo | None) -> tuple[str, ...]:
    alias = field.validation_alias if field else None
    choices = alias.choices if isinstance(alias, AliasChoices) else ()
    named = tuple([one for one in choices if isinstance(one, str) and one.startswith("TOCSIN_")])
    return named or (f"TOCSIN_{name.upper()}",)


def _is_secret(field: FieldInfo) -> bool:
    return not field.repr or "SecretStr" in repr(field.annotation)
