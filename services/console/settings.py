"""What the console needs to know."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator

from services.common.control.access.settings import AccessSettings
from services.common.control.limits import LimitsDefaults
from services.common.control.thresholds import DEFAULT_RISK_THRESHOLDS, RiskThresholds
from services.common.http.forwarding import LOOPBACK, Network, parse_networks


class Settings(AccessSettings):
    """The console's settings; each is a `TOCSIN_*` variable."""

    port: int = Field(
        8013,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("port", "TOCSIN_CONSOLE_PORT"),
        description="The port of the platform API; 0 takes a free one.",
    )
    pseudonym_key: SecretStr = Field(
        min_length=16, description="Secret under which users are renamed, the gateways' own."
    )
    max_body_bytes: int = Field(1024 * 1024, ge=1024, le=1536 * 1024, description="Largest request body.")
    body_timeout_s: float = Field(30.0, gt=0, description="How long a request's body may take.")
    ack_timeout_s: float = Field(5.0, gt=0, description="How long Kafka may take to acknowledge a record.")
    store_timeout_s: float = Field(5.0, gt=0, description="How long a query may take.")
    erasure_store_timeout_s: float = Field(
        120.0, gt=0, description="How long one statement of an erasure, an export or a retention may take."
    )
    erasure_settle_s: float = Field(
        20.0,
        ge=0,
        description="How long an erasure waits for the recorder; what comes later is its next round's.",
    )
    erasure_patience_s: float = Field(
        30.0, gt=0, description="After so long without progress another console goes on with an erasure."
    )
    erasure_compact_every_s: float = Field(
        3600.0,
        ge=1,
        le=3600,
        description="How often compacted topics are written to, so that Kafka forgets what erasures removed.",
    )
    retention_every_s: float = Field(
        3600.0, ge=1, description="How often texts are removed that a policy's retention_days keep no longer."
    )
    langfuse_url: str = Field(
        "", description="A Langfuse in which erasures delete a person's traces, as https://host. Empty: none."
    )
    langfuse_public_key: str = Field("", description="The public key of its project.")
    langfuse_secret_key: SecretStr = Field(
        SecretStr(""), validate_default=True, description="The secret key of its project."
    )
    langfuse_plain_names: bool = Field(
        False,
        description="Delete traces whose user is the plain name, too: where the project is one tenant's.",
    )
    limits_defaults: LimitsDefaults = ""
    session_s: float = Field(
        3600.0, ge=60, le=86_400, description="How long a session lasts without being renewed."
    )
    session_longest_s: float = Field(
        43_200.0, ge=60, le=604_800, description="How long a session lasts however often it is renewed."
    )
    session_cookie: Literal["auto", "secure", "plain"] = Field(
        "auto",
        description="Whether browsers send the session's cookie over HTTPS only: secure, plain, or auto, "
        "which is secure except where the console is reached as localhost or on a loopback address.",
    )
    trusted_proxies: str = Field(
        LOOPBACK,
        validation_alias=AliasChoices("trusted_proxies", "TOCSIN_CONSOLE_TRUSTED_PROXIES"),
        description="Networks, separated by commas, whose X-Forwarded-For tells who logs in: the gateways', "
        "and those of ingresses that go straight to the console.",
    )
    risk_thresholds: RiskThresholds = DEFAULT_RISK_THRESHOLDS
    health_urls: str = Field(
        "",
        validation_alias=AliasChoices("health_urls", "TOCSIN_CONSOLE_HEALTH_URLS"),
        description="Services whose /ready /api/status asks: name=http://host:port, separated by commas.",
    )

    @field_validator("langfuse_url")
    @classmethod
    def _langfuse(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username):
            raise ValueError(f"{value!r} must look like https://langfuse.example.org, without a user")
        return value

    @field_validator("langfuse_secret_key")
    @classmethod
    def _langfuse_keys(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if info.data.get("langfuse_url") and not (
            value.get_secret_value() and info.data["langfuse_public_key"]
        ):
            raise ValueError("a Langfuse wants both its keys: TOCSIN_LANGFUSE_PUBLIC_KEY and ..._SECRET_KEY")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        parse_networks(value)
        return value

    @field_validator("health_urls")
    @classmethod
    def _health_urls(cls, value: str) -> str:
        for one in _split(value):
            name, _, url = one.partition("=")
            if not name or urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise ValueError(f"{one!r} must look like analyzer=http://127.0.0.1:8012")
        return value

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """`trusted_proxies`, parsed."""
        return parse_networks(self.trusted_proxies)

    @property
    def health_targets(self) -> dict[str, str]:
        """`health_urls`: each service's address, without a slash at the end."""
        named = (one.partition("=") for one in _split(self.health_urls))
        return {name: url.rstrip("/") for name, _, url in named}


def _split(value: str) -> list[str]:
    return [one.strip() for one in value.split(",") if one.strip()]
