"""Rows of the tables `forecasts` and `anomalies`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.analyzer.anomalies.domain.tracking import Tracked
from services.analyzer.forecast.domain.figures import FIGURES, HORIZONS
from services.common.store import Table

_WORD, _HOUR, _MAYBE, _EACH = (
    "LowCardinality(String)",
    "DateTime('UTC')",
    "Nullable(Float64)",
    "Array(Float64)",
)
_BOUNDS = ("median", "low80", "high80", "low95", "high95")

FORECASTS = Table(
    "forecasts",
    {
        "as_of": _HOUR,
        **dict.fromkeys(("tenant", "model", "figure"), _WORD),
        "horizon_hours": "UInt16",
        **dict.fromkeys(("method", "baseline"), _WORD),
        "beats_baseline": "Bool",
        **dict.fromkeys(("error", "baseline_error", "coverage80", "coverage95"), _MAYBE),
        "origins": "UInt16",
        "known_hours": "UInt32",
        "notes": "Array(String)",
        "hours": f"Array({_HOUR})",
        **dict.fromkeys(_BOUNDS, _EACH),
    },
)
ANOMALIES = Table(
    "anomalies",
    {
        "anomaly_id": "String",
        "as_of": _HOUR,
        **dict.fromkeys(("tenant", "model", "method", "figure", "kind", "side"), _WORD),
        **dict.fromkeys(("found_at", "began_at", "ended_at", "peak_at"), _HOUR),
        **dict.fromkeys(
            ("observed", "expected", "low", "high", "score", "total_observed", "total_expected"), "Float64"
        ),
        "drivers": (
            "Array(Tuple(dimension String, value String, observed Float64, expected Float64, share Float64))"
        ),
    },
)
_TRUST = ("error", "baseline_error", "coverage80", "coverage95", "origins", "known_hours", "notes")
_FIGURES = ("observed", "expected", "low", "high", "score", "total_observed", "total_expected")


def forecast_row(as_of: datetime, tenant: str, model: str, one: Mapping[str, Any]) -> tuple[Any, ...]:
    """A forecast of `services.analyzer.forecast.domain.outlook`."""
    hours, *bounds = zip(*one["expected"], strict=True) if one["expected"] else ((),) * (1 + len(_BOUNDS))
    return (
        as_of,
        tenant,
        model,
        one["figure"],
        one["hours"],
        one["method"],
        one["baseline"],
        one["beats_baseline"],
        *(one[name] for name in _TRUST),
        [time_of(hour) for hour in hours],
        *(list(values) for values in bounds),
    )


def none_rows(as_of: datetime, tenant: str, model: str, why: str) -> list[tuple[Any, ...]]:
    """That there is no forecast of a subject, and why."""
    nothing = {
        "method": "none",
        "baseline": "none",
        "beats_baseline": False,
        **dict.fromkeys(("error", "baseline_error", "coverage80", "coverage95")),
        "origins": 0,
        "known_hours": 0,
        "notes": [why],
        "expected": [],
    }
    return [
        forecast_row(as_of, tenant, model, {**nothing, "figure": figure, "hours": hours})
        for figure in FIGURES
        for hours in HORIZONS
    ]


def anomaly_row(as_of: datetime, one: Tracked) -> tuple[Any, ...]:
    """An anomaly as of that hour."""
    found = one.anomaly
    return (
        one.anomaly_id,
        as_of,
        one.tenant,
        one.model,
        *(found[name] for name in ("method", "figure", "kind", "side")),
        time_of(found["found"] + 1),
        time_of(found["first"]),
        time_of(found["last"] + 1),
        time_of(found["peak_hour"]),
        *(found[name] for name in _FIGURES),
        [tuple(driver) for driver in found["drivers"]],
    )


def time_of(hour: int) -> datetime:
    """The start of an hour since 1970."""
    return datetime.fromtimestamp(hour * 3600, UTC)
