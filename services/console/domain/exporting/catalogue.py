"""The views that are exported: their order, and who may see what. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from schemas.control import Scope
from services.common.control.principal import Principal
from services.common.store.tenant_views import TENANT_VIEWS


class Reach(IntEnum):
    """How much a caller may see: their tenant's figures; as its administrator, texts and
    findings too; as the platform's, what belongs to no tenant.
    """

    READER = 0
    ADMIN = 1
    PLATFORM = 2


@dataclass(frozen=True, slots=True)
class View:
    """A view's rows in order: by `time`, a column, then by `place`, expressions over its
    columns as text. `texts` are columns for administrators only.
    """

    time: str
    place: tuple[str, ...]
    reach: Reach = Reach.READER
    texts: frozenset[str] = frozenset()

    @property
    def is_daily(self) -> bool:
        """Whether `time` is a day, not a moment."""
        return self.time == "day"


def _or_empty(column: str) -> str:
    return f"ifNull(source.{column}, '')"


_REQUEST = ("source.tenant", "source.request_id")
_MODEL = ("source.tenant", "source.model")

EXPORTED: Mapping[str, View] = {
    "v_alerts": View("started_at", ("source.tenant", "source.alert_id")),
    "v_anomalies": View("found_at", ("source.tenant", "source.anomaly_id")),
    "v_audit": View("occurred_at", ("source.entry_id",), Reach.PLATFORM),
    "v_breaches": View("began_at", ("source.tenant", "source.breach_id")),
    "v_costs": View("day", (*_MODEL, _or_empty("key_id"), _or_empty("user"))),
    "v_dead_letters": View(
        "first_failed_at",
        (
            "source.origin_topic",
            "toString(source.origin_partition)",
            "toString(source.origin_offset)",
            "source.consumer",
        ),
        Reach.PLATFORM,
    ),
    "v_drift": View("reported_at", ("source.tenant", "source.report_id")),
    "v_errors": View("completed_at", _REQUEST),
    "v_feedback": View(
        "rated_at", (*_REQUEST, "source.user"), texts=frozenset({"newest_comment", "newest_correction"})
    ),
    "v_finding_feedback": View("given_at", ("source.tenant", "source.finding_id"), Reach.ADMIN),
    "v_findings": View("found_at", ("source.tenant", "source.finding_id"), Reach.ADMIN),
    "v_forecasts": View(
        "as_of",
        (*_MODEL, "source.figure", "toString(source.horizon_hours)", "ifNull(toString(source.hour), '')"),
    ),
    "v_model_hours": View("hour", ("source.model",), Reach.PLATFORM),
    "v_models": View("last_used_at", _MODEL),
    "v_quality": View("hour", _MODEL),
    "v_queue": View("hour", (*_MODEL, "source.lane")),
    "v_recommendations": View("raised_at", ("source.tenant", "source.fingerprint"), Reach.ADMIN),
    "v_requests": View("completed_at", _REQUEST, texts=frozenset({"prompt_text", "response_text"})),
    "v_retrainings": View("requested_at", ("source.tenant", "source.retraining_id")),
    "v_rollups": View("began_at", ("source.rollup_of",), Reach.PLATFORM),
    "v_slow_requests": View("completed_at", _REQUEST),
    "v_threats": View("hour", ("source.tenant", "source.category", "source.level")),
    "v_usage_daily": View("day", _MODEL),
    "v_usage_hourly": View("hour", _MODEL),
    "v_usage_minutely": View("minute", _MODEL),
    "v_users": View("day", ("source.tenant", _or_empty("user"))),
}
NOT_EXPORTED: Mapping[str, str] = {
    "v_ledger": "it has no time; `tocsin doctor` reads it",
    "v_request_events": "it is asked for by request: GET /api/requests/{request_id}",
}
"""Views that are not, each with the reason."""


def views_for(reach: Reach) -> dict[str, View]:
    """Those that a caller may export. Who sees one tenant sees views of tenants alone."""
    return {
        name: view
        for name, view in EXPORTED.items()
        if view.reach <= reach and (reach is Reach.PLATFORM or name in TENANT_VIEWS)
    }


def hidden_from(view: View, reach: Reach) -> frozenset[str]:
    """Columns that are not there for a caller: neither told nor asked by."""
    return view.texts if reach < Reach.ADMIN else frozenset()


def reach_of(principal: Principal) -> Reach:
    """How much a caller may see."""
    if principal.is_platform_admin:
        return Reach.PLATFORM
    return Reach.ADMIN if Scope.ADMIN in principal.scopes else Reach.READER
