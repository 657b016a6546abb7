"""Settings from `TOCSIN_*` environment variables; each service adds its own to these."""

import os
import socket
from typing import Any, Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.errors import ConfigError


class CommonSettings(BaseSettings):
    """What every service needs to know."""

    model_config = SettingsConfigDict(env_prefix="TOCSIN_", frozen=True, extra="ignore")

    kafka_url: str = Field("127.0.0.1:9092", description="Kafka's bootstrap servers, host:port[,host:port].")
    clickhouse_url: str = Field(
        "http://default@127.0.0.1:8123/tocsin",
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

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Reads the environment.

        Raises:
            ConfigError: a value is malformed; the message names the variable, what was
                wrong and what it is for.
        """
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise ConfigError("\n".join(_explain(cls, problem) for problem in error.errors())) from error


def _explain(settings: type[CommonSettings], problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "?"
    field = settings.model_fields.get(name)
    purpose = f" It is: {field.description}" if field and field.description else ""
    return f"TOCSIN_{name.upper()}={problem.get('input')!r}: {problem['msg']}.{purpose}"
