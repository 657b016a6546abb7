"""What the analyzer needs to know."""

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AliasChoices, Field

from services.common.control.thresholds import DEFAULT_RISK_THRESHOLDS, RiskThresholds
from services.common.process.settings import CommonSettings


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"time zone {name!r} is not known; name one as Europe/Paris") from error
    return name


class Settings(CommonSettings):
    """The analyzer's settings; each is a `TOCSIN_*` variable."""

    analyzer_roles: str = Field(
        "recorder,audit,security,kpi,forecast",
        description="What this process does, separated by commas: recorder, audit, security, kpi, forecast.",
    )
    audit_group: str = Field(
        "audit", description="The consumer group that chains audit entries; those of one store share it."
    )
    security_group: str = Field(
        "security",
        pattern="^[A-Za-z0-9._-]{1,100}$",
        description="The consumer groups of security analysis begin so; those of one installation share it.",
    )
    security_cpu_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of one core that looking at texts takes at most; what is more waits in the log.",
    )
    security_subjects: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Users and keys whose behaviour is remembered, for each partition of "
        "security.observations; those that were not seen for longest are forgotten.",
    )
    limits_risk_half_life_s: float = Field(
        6 * 3600.0,
        gt=0,
        description="What was found about a user counts half after so long, here as at the gateways.",
    )
    risk_thresholds: RiskThresholds = DEFAULT_RISK_THRESHOLDS
    kpi_group: str = Field(
        "kpi",
        pattern="^[A-Za-z0-9._-]{1,100}$",
        description="The consumer group of which one member judges windows; those of one installation "
        "share it.",
    )
    forecast_group: str = Field(
        "forecast",
        pattern="^[A-Za-z0-9._-]{1,100}$",
        description="Under which name forecasts and anomalies are worked out; those of one installation "
        "share it, and of several analyzers one does it.",
    )
    forecast_tenants: int = Field(
        10, ge=0, le=100, description="So many tenants, those with most requests, are forecast each."
    )
    forecast_models: int = Field(
        10, ge=0, le=100, description="So many models, those with most requests, are forecast each."
    )
    forecast_settle_s: float = Field(
        60.0,
        ge=0,
        le=1800,
        description="How long after an hour's end, or its own start, an analyzer forecasts (s).",
    )
    forecast_round_s: float = Field(
        1800.0,
        gt=0,
        le=3300,
        description="What is not worked out after so long (s) is left to the next hour; five seconds of CPU "
        "for each tenant and model are usual.",
    )
    forecast_time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        "UTC", description="The zone whose hours of the day and week the traffic follows: Europe/Paris."
    )
    alert_security_threshold: float = Field(
        5,
        gt=0,
        validation_alias=AliasChoices("alert_security_threshold", "TOCSIN_ALERT_SECURITY_THRESHOLD"),
        description="Requests of a tenant with findings of medium and more, in five minutes, that are a "
        "breach.",
    )
    alert_latency_threshold: float = Field(
        5.0,
        gt=0,
        validation_alias=AliasChoices("alert_latency_threshold", "TOCSIN_ALERT_LATENCY_THRESHOLD"),
        description="Latency (s, the 95th percentile of five minutes) of a model or tenant that is a breach.",
    )
    alert_error_rate_threshold: float = Field(
        0.05,
        gt=0,
        le=1,
        validation_alias=AliasChoices("alert_error_rate_threshold", "TOCSIN_ALERT_ERROR_RATE_THRESHOLD"),
        description="Share of failed and expired requests of a model or tenant, in five minutes, that is a "
        "breach.",
    )
    alert_satisfaction_threshold: float = Field(
        0.7,
        gt=0,
        lt=1,
        validation_alias=AliasChoices("alert_satisfaction_threshold", "TOCSIN_ALERT_SATISFACTION_THRESHOLD"),
        description="Share of good ratings of a model, in a day, below which it is a breach.",
    )
    audit_anchor_interval_s: float = Field(
        3600.0,
        ge=0.1,
        le=86_400,
        description="How often the audit's newest hash is published, if it has moved (s).",
    )
    recorder_group: str = Field(
        "recorder", description="The recorders' consumer group; those of one store share it."
    )
    recorder_batch_rows: int = Field(
        5000, ge=1, le=100_000, description="A batch is written when it has so many events."
    )
    recorder_batch_bytes: int = Field(
        16 * 1024 * 1024, ge=65_536, description="A batch is written when its events have so many bytes."
    )
    recorder_linger_ms: int = Field(
        500,
        ge=1,
        le=60_000,
        description="A batch is written so long after its first event, however small it is.",
    )
    recorder_invalid_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="The recorder halts above this share of invalid events; 1 sets every one aside, "
        "whatever comes.",
    )
    recorder_invalid_window: int = Field(
        100, ge=1, description="The share is taken over so many of the latest events."
    )
    recorder_invalid_minimum: int = Field(
        20, ge=1, description="The share counts from so many invalid events."
    )
    recorder_session_timeout_s: float = Field(
        6.0,
        ge=1,
        le=300,
        description="A recorder that is silent for so long loses its partitions to another.",
    )
    consumer_session_timeout_s: float = Field(
        6.0,
        ge=1,
        le=300,
        description="A consumer of events that is silent for so long loses its partitions to another.",
    )
    store_timeout_s: float = Field(30.0, gt=0, description="How long an insert or a query may take.")
