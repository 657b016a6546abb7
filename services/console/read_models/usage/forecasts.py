"""What is expected of the next hours, as the analyzer's forecast role has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from services.common.clock import Clock
from services.common.store import Store

FIGURES = ("requests", "tokens", "cost_usd", "threats")
_BOUNDS = ("median", "low80", "high80", "low95", "high95")
_STALE = timedelta(hours=3)
_STALE_NOTE = (
    "the analyzer's forecast role has worked nothing out since: hours that have passed are told as they were "
    "expected"
)
_NEWEST = (
    "SELECT as_of, figure, method, baseline, beats_baseline, error, baseline_error, coverage80, "  # noqa: S608
    f"coverage95, known_hours, notes, hours, {', '.join(_BOUNDS)} FROM forecasts FINAL "
    "WHERE as_of = (SELECT max(as_of) FROM forecasts) AND horizon_hours = {horizon:UInt16} AND "
)


@dataclass(frozen=True)
class Forecasts:
    """Reads the newest round's."""

    store: Store
    clock: Clock

    async def read(self, tenant: str, model: str, horizon: int, zone: ZoneInfo) -> dict[str, Any]:
        """The body of the API: of a tenant, a model, or (both empty) the whole platform.

        Raises:
            StoreUnavailableError: not now.
        """
        rows = await self.rows(tenant, model, horizon)
        as_of = rows[0]["as_of"].astimezone(zone) if rows else None
        by_figure = {str(row["figure"]): row for row in rows}
        return {
            "as_of": as_of.isoformat() if as_of else None,
            "time_zone": zone.key,
            "tenant": tenant,
            "model": model,
            "horizon_hours": horizon,
            "notes": self._notes(tenant, model, as_of),
            "forecasts": [_told(by_figure[name], zone) for name in FIGURES if name in by_figure],
        }

    async def rows(self, tenant: str, model: str, horizon: int) -> Sequence[Mapping[str, Any]]:
        """The same as the store has it, a row for each figure.

        Raises:
            StoreUnavailableError: not now.
        """
        whose, parameters = subject_condition(tenant, model)
        return await self.store.query(_NEWEST + whose, {"horizon": horizon, **parameters})

    def _notes(self, tenant: str, model: str, as_of: datetime | None) -> list[str]:
        if as_of is None:
            return [_why_none(tenant, model)]
        if self.clock() - as_of > _STALE:
            return [_STALE_NOTE]
        return []


def subject_condition(tenant: str, model: str) -> tuple[str, dict[str, str]]:
    """Which rows are of a subject, with parameters: without either the whole platform."""
    named = {"tenant": tenant, "model": model}
    parts = [f"{name} = {{only_{name}:String}}" if value else f"{name} = ''" for name, value in named.items()]
    return " AND ".join(parts), {f"only_{name}": value for name, value in named.items() if value}


def _why_none(tenant: str, model: str) -> str:
    if tenant and model:
        return "forecasts are of a tenant or of a model, not of a tenant's model: leave one of them out"
    if tenant or model:
        return (
            "there is none: forecasts are made each hour, of the busiest tenants and models "
            "(TOCSIN_FORECAST_TENANTS, TOCSIN_FORECAST_MODELS), and this one was not among them"
        )
    return "there is none yet: the analyzer's forecast role makes them each hour"


def _told(row: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    error, baseline_error = row["error"], row["baseline_error"]
    return {
        "figure": str(row["figure"]),
        "method": str(row["method"]),
        "baseline": str(row["baseline"]),
        "beats_baseline": bool(row["beats_baseline"]),
        "relative_error": error / baseline_error if error is not None and baseline_error else None,
        "coverage_80": row["coverage80"],
        "coverage_95": row["coverage95"],
        "known_hours": int(row["known_hours"]),
        "total": sum(row["median"]) if row["hours"] else None,
        "notes": list(row["notes"]),
        "expected": [
            {
                "hour": hour.astimezone(zone).isoformat(),
                "median": median,
                "low_80": low80,
                "high_80": high80,
                "low_95": low95,
                "high_95": high95,
            }
            for hour, median, low80, high80, low95, high95 in zip(
                row["hours"], *[row[name] for name in _BOUNDS], strict=True
            )
        ],
    }


def flat(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each figure and hour, for CSV."""
    beside = ("figure", "method", "beats_baseline")
    return [
        {**{name: one[name] for name in beside}, **hour}
        for one in found["forecasts"]
        for hour in one["expected"]
    ]


def hour_of(moment: datetime) -> int:
    """Its number since 1970."""
    return int(moment.astimezone(UTC).timestamp()) // 3600
