"""What was not as expected, as the analyzer's forecast role has it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.common.store import Store
from services.console.read_models.usage.forecasts import subject_condition

_FIGURES = ("observed", "expected", "low", "high", "score", "total_observed", "total_expected")
_TIMES = ("found_at", "began_at", "ended_at", "peak_at")
_NAMES = ("anomaly_id", "tenant", "model", "method", "figure", "kind", "side")
_DRIVER = ("dimension", "value", "observed", "expected", "share")


@dataclass(frozen=True, slots=True)
class AnomalyQuery:
    """Anomalies of which an hour lies between `since` and `until`; `only` names columns with
    their values, `subject` a tenant and a model (both empty: the whole platform); `lasting`
    are those that are not over. At most `limit`, the newest first.
    """

    since: datetime
    until: datetime
    zone: ZoneInfo
    only: Mapping[str, str] = field(default_factory=dict)
    subject: tuple[str, str] | None = None
    lasting: bool = False
    limit: int = 100


@dataclass(frozen=True)
class Anomalies:
    """Reads them."""

    store: Store

    async def read(self, query: AnomalyQuery) -> list[dict[str, Any]]:
        """Each with what was expected, and what made it.

        Raises:
            StoreUnavailableError: not now.
        """
        conditions = ["began_at < {until:DateTime64(3, 'UTC')}", "ended_at > {since:DateTime64(3, 'UTC')}"]
        conditions += [f"{name} = {{only_{name}:String}}" for name in query.only]
        conditions += ["lasts"] if query.lasting else []
        named: dict[str, str] = {f"only_{name}": value for name, value in query.only.items()}
        if query.subject is not None:
            whose, parameters = subject_condition(*query.subject)
            conditions.append(whose)
            named |= parameters
        rows = await self.store.query(
            f"SELECT {', '.join((*_NAMES, *_TIMES, *_FIGURES))}, lasts, drivers FROM v_anomalies "  # noqa: S608  names of ours
            f"WHERE {' AND '.join(conditions)} ORDER BY found_at DESC, score DESC, anomaly_id "
            "LIMIT {limit:UInt32}",
            {
                "since": query.since.astimezone(UTC),
                "until": query.until.astimezone(UTC),
                "limit": query.limit,
                **named,
            },
        )
        return [_told(row, query.zone) for row in rows]


def _told(row: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    return {
        **{name: str(row[name]) for name in _NAMES},
        "lasts": bool(row["lasts"]),
        **{name: row[name].astimezone(zone).isoformat() for name in _TIMES},
        **{name: row[name] for name in _FIGURES},
        "drivers": [
            dict(one) if isinstance(one, dict) else dict(zip(_DRIVER, one, strict=True))
            for one in row["drivers"]
        ],
    }


def flat(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same for CSV: drivers as text."""
    return [
        {
            **one,
            "drivers": "; ".join(
                f"{by['dimension']} {by['value']} {by['share']:.0%}" for by in one["drivers"]
            ),
        }
        for one in found
    ]
