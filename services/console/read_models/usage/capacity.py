"""What a model needs for what is expected of it: the forecast, and what was measured."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from services.common.clock import Clock
from services.common.store import Store
from services.console.domain.capacity.advice import (
    Advice,
    ExpectedRequests,
    Goal,
    Load,
    Option,
    Replica,
    advise,
)
from services.console.domain.capacity.measurements import (
    Floats,
    Refused,
    burstiness_of,
    service_of,
)
from services.console.read_models.usage.forecasts import Forecasts, hour_of

_MEASURED = timedelta(days=7)
_COUNTED = timedelta(days=1)
_MOST_MEASURED = 5000
_HELD = (
    "SELECT (duration_ms - ifNull(queue_ms, 0)) / 1000 AS held_s FROM inference_events "
    "WHERE model = {model:String} AND outcome = 'completed' AND completed_at >= {since:DateTime64(3, 'UTC')} "
    "ORDER BY completed_at DESC LIMIT {most:UInt32} SETTINGS max_execution_time = 20"
)
_COMING = (
    "SELECT intDiv(toUnixTimestamp(toStartOfMinute(requested_at)), 60) AS minute, count() AS n "
    "FROM inference_events WHERE model = {model:String} AND outcome != 'cache_hit' "
    "AND completed_at >= {since:DateTime64(3, 'UTC')} GROUP BY minute SETTINGS max_execution_time = 20"
)


@dataclass(frozen=True)
class Capacity:
    """Works it out of the store."""

    store: Store
    forecasts: Forecasts
    clock: Clock

    async def advice(
        self, model: str, horizon: int, *, replica: Replica, present: int, goal: Goal
    ) -> dict[str, Any]:
        """The body of the API: options, or why there are none (`refused`).

        Raises:
            StoreUnavailableError: not now.
        """
        found = advise(
            await self._load(model, horizon),
            service=service_of(await self._held_s(model)),
            burstiness=burstiness_of(await self._per_minute(model)),
            replica=replica,
            present=present,
            goal=goal,
        )
        asked = {
            "model": model,
            "horizon_hours": horizon,
            "wait_p95_s": goal.wait_s,
            "bound": goal.bound,
            "replica": {
                "slots": replica.slots,
                "accelerators": replica.accelerators,
                "cost_per_hour_usd": str(replica.cost_per_hour_usd),
            },
        }
        if isinstance(found, Refused):
            return {**asked, "refused": found.reason, "basis": None, "options": [], "notes": []}
        options = [_option(one) for one in found.options]
        return {
            **asked,
            "refused": None,
            "basis": _basis(found),
            "options": options,
            "notes": list(found.notes),
        }

    async def _load(self, model: str, horizon: int) -> Load:
        rows = [row for row in await self.forecasts.rows("", model, horizon) if row["figure"] == "requests"]
        if not rows:
            return Load(model, (), notes=("it was not among the busiest models of the newest round",))
        (row,) = rows
        bounds = (row["hours"], row["median"], row["high80"], row["high95"])
        expected = tuple(ExpectedRequests(hour_of(at), *rest) for at, *rest in zip(*bounds, strict=True))
        return Load(model, expected, bool(row["beats_baseline"]), tuple(row["notes"]))

    async def _held_s(self, model: str) -> Floats:
        """For how long the newest answered requests of a week held their slots."""
        given = {"model": model, "since": self.clock() - _MEASURED, "most": _MOST_MEASURED}
        rows = await self.store.query(_HELD, given)
        return np.array([float(row["held_s"]) for row in rows])

    async def _per_minute(self, model: str) -> Floats:
        """How many came in each minute since the first of the last day's."""
        rows = await self.store.query(_COMING, {"model": model, "since": self.clock() - _COUNTED})
        counted = {int(row["minute"]): int(row["n"]) for row in rows}
        if not counted:
            return np.zeros(0)
        end = int(self.clock().timestamp()) // 60
        return np.array(
            [float(counted.get(one, 0)) for one in range(min(counted), max(end, max(counted) + 1))]
        )


def _basis(found: Advice) -> dict[str, Any]:
    return {
        "peak_hour": datetime.fromtimestamp(found.peak_hour * 3600, UTC).isoformat(),
        "peak_requests": found.peak_requests,
        "service_mean_s": found.service.mean_s,
        "service_upper_s": found.service.upper_s,
        "service_variation": found.service.variation,
        "requests_measured": found.service.requests,
        "burstiness": found.burstiness,
    }


def _option(one: Option) -> dict[str, Any]:
    told: Mapping[str, Any] = asdict(one)
    return {
        **told,
        "replicas": list(one.replicas) if one.name == "by_hour" else one.replicas[0],
        "wait_p95_s": one.wait_p95_s if math.isfinite(one.wait_p95_s) else None,
        "utilisation": one.utilisation if math.isfinite(one.utilisation) else None,
        "cost_usd": str(one.cost_usd),
    }
