"""What a gateway needs to know."""

import re
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator

from services.common.control.access.settings import AccessSettings
from services.common.control.limits import LimitsDefaults
from services.common.control.thresholds import DEFAULT_RISK_THRESHOLDS, RiskThresholds
from services.common.http.forwarding import LOOPBACK, Network, parse_networks

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?")


class Settings(AccessSettings):
    """The gateway's settings; each is a `TOCSIN_*` variable."""

    port: int = Field(
        8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("port", "TOCSIN_GATEWAY_PORT"),
        description="The port of the HTTP API; 0 takes a free one.",
    )
    clickhouse_url: str = Field(
        "http://default@127.0.0.1:8123/tocsin",
        repr=False,
        validation_alias=AliasChoices(
            "clickhouse_url", "TOCSIN_GATEWAY_CLICKHOUSE_URL", "TOCSIN_CLICKHOUSE_URL"
        ),
        description="ClickHouse's HTTP address with user, password and database, where it is read what "
        "budgets have spent; docs/costs.md has the few rights that it needs.",
    )
    pseudonym_key: SecretStr = Field(
        min_length=16,
        description="Secret under which users are renamed, at least 16 characters, the same on every "
        "gateway.",
    )
    console_url: str = Field(
        "",
        description="The console's address, http://host:port: /api, /dashboard and /v1/feedback are passed "
        "on to it. Empty: they answer 503.",
    )
    trusted_proxies: str = Field(
        LOOPBACK,
        description="Networks, separated by commas, of the ingresses before this gateway, whose "
        "X-Forwarded-For is believed, and nobody else's. They must append whom they see, or set it anew. "
        "Empty: none.",
    )
    max_body_bytes: int = Field(
        1024 * 1024,
        ge=1024,
        le=1536 * 1024,
        description="Largest request body; Kafka's records end at 2 MiB.",
    )
    max_head_bytes: int = Field(
        64 * 1024, ge=4096, description="Largest head of a request: its line and headers."
    )
    head_timeout_s: float = Field(
        15.0, gt=0, description="How long a request's head may take from its first byte to its last."
    )
    body_timeout_s: float = Field(30.0, gt=0, description="The same for a request's body.")
    write_timeout_s: float = Field(
        30.0,
        gt=0,
        description="A client that takes less than 64 KiB in this time, while more waits for it, is cut off.",
    )
    cors_origins: str = Field(
        "",
        description="Origins whose pages may call /v1 from a browser, separated by commas, as "
        "https://app.example; * for all; empty for none.",
    )
    max_in_flight: int = Field(
        4096, ge=1, description="Requests that one gateway follows at a time; further ones get 503."
    )
    limits_defaults: LimitsDefaults = ""
    limits_url: SecretStr = Field(
        SecretStr(""),
        description="Valkey or Redis that gateways share limits in exactly: valkey://, valkeys://, redis:// "
        "or rediss://host:port. Empty: they tell each other on the bus.",
    )
    limits_risk_half_life_s: float = Field(
        6 * 3600.0,
        gt=0,
        description="After this time what was found of a user counts half as much for its limit.",
    )
    inspect_workers: int = Field(
        1,
        ge=0,
        le=64,
        description="Processes that read prompts for attacks with the model and, where they are long, with "
        "the rules; about 190 MB each. 0: rules alone.",
    )
    inspect_budget_ms: float = Field(
        10.0,
        ge=0,
        le=10_000,
        description="How long a suspicious prompt waits for the model's opinion, unless its tenant's policy "
        "says otherwise; beyond it the rules' verdict stands.",
    )
    inspect_always: bool = Field(
        False,
        description="Whether the model gives its opinion although less than a fifth of the machine's CPU is "
        "idle; what it decides it always reads.",
    )
    inspect_patience_ms: float = Field(
        2000.0,
        ge=1,
        le=60_000,
        description="How long a prompt waits where its tenant's policy blocks and only the model can tell "
        "whether that is due, or its text is long; beyond it 503.",
    )
    risk_thresholds: RiskThresholds = DEFAULT_RISK_THRESHOLDS
    max_choices: int = Field(16, ge=1, le=128, description="Largest `n` of a request.")
    ack_timeout_s: float = Field(
        5.0, gt=0, description="How long Kafka may take to acknowledge a request before the client gets 503."
    )
    interactive_timeout_s: float = Field(
        300.0,
        gt=0,
        le=840,
        description="How long a request of the interactive lane may take, from asking to its last token.",
    )
    batch_timeout_s: float = Field(
        840.0,
        gt=0,
        le=840,
        description="The same for the batch lane; what the bus keeps for replies bounds it.",
    )
    silence_s: float = Field(
        2.0, gt=0.1, description="Silence of a running request after which another attempt is made."
    )
    max_attempts: int = Field(
        32,
        ge=1,
        description="Attempts at a request before it fails, whatever the cause; the dispatcher ends one "
        "that fails its engine five times or its replica twice.",
    )
    max_resume_window_s: float = Field(
        300.0, ge=0, description="Longest `x-resume-window` that a client may ask for."
    )
    max_buffered_bytes: int = Field(
        4 * 1024 * 1024,
        ge=4096,
        description="Bytes that a slow client may lag behind before its stream is cut; each record counts "
        "1 KiB more than it has.",
    )
    max_remembered_bytes: int = Field(
        64 * 1024 * 1024,
        ge=0,
        description="Bytes of requests that ended a moment ago, kept for ten seconds in case their end is "
        "lost.",
    )
    max_recorded_bytes: int = Field(
        128 * 1024 * 1024,
        ge=0,
        description="Bytes of answers with an Idempotency-Key that are being recorded, a tenant as much as "
        "is left beside it; beyond that an answer is not kept.",
    )
    idempotency_keys: int = Field(
        100_000,
        ge=1,
        description="Idempotency keys remembered for 24 hours, about 600 bytes each; beyond that the oldest "
        "of the tenant with most is forgotten.",
    )
    keep_alive_s: float = Field(
        15.0, gt=0, description="A comment goes down a stream that was silent for so long."
    )

    @field_validator("console_url")
    @classmethod
    def _console_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/")):
            raise ValueError("must look like http://127.0.0.1:8013")
        return value

    @field_validator("limits_url")
    @classmethod
    def _is_store(cls, value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if value.get_secret_value() and (
            parts.scheme not in ("valkey", "valkeys", "redis", "rediss") or not parts.hostname
        ):
            raise ValueError("must look like valkey://127.0.0.1:6379")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        parse_networks(value)
        return value

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """`trusted_proxies`, parsed."""
        return parse_networks(self.trusted_proxies)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`."""
        return tuple(one for part in self.cors_origins.split(",") if (one := part.strip()))

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for part in value.split(","):
            if part.strip() and not _ORIGIN.fullmatch(part.strip()):
                raise ValueError(f"{part.strip()!r} is no origin; write scheme://host or scheme://host:port")
        return value
