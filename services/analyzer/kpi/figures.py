"""The present figures of each model, as metrics."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from services.analyzer.kpi.domain.grid import WINDOW
from services.common.clock import Clock
from services.common.process import metrics
from services.common.store import Store
from services.common.store.saved_queries import SavedQuery, saved_queries

_EVERY = timedelta(seconds=30)
_MODELS = 50
_SHOWN = (
    "requests_per_s",
    "error_rate",
    "latency_p50_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "ttft_p95_ms",
    "inter_token_p95_ms",
    "queue_p95_ms",
    "tokens_per_s",
    "usd_per_hour",
    "cache_hit_share",
    "risky_share",
)


@dataclass
class Figures:
    """Asks for them twice a minute, by the saved queries that people ask, too."""

    store: Store
    clock: Clock
    _shown_at: datetime | None = field(default=None, init=False)
    _queries: Mapping[str, SavedQuery] = field(default_factory=saved_queries, init=False)

    async def show_if_due(self) -> None:
        """Sets the metrics anew.

        Raises:
            StoreUnavailableError: not now.
        """
        now = self.clock()
        if self._shown_at is not None and now - self._shown_at < _EVERY:
            return
        self._shown_at = now
        window = await self._ask(
            "operations/window", {"from": now - WINDOW, "to": now, "by": "model", "limit": _MODELS}
        )
        scores = await self._ask("quality/model_scores", {"to": now, "limit": _MODELS})
        self._clear()
        for row in window:
            for name in _SHOWN:
                _set(metrics.KPI, (name, str(row["name"])), row[name])
        for row in scores:
            for gauge in (metrics.MODEL_PERFORMANCE_SCORE, metrics.KPI_SCORE):
                _set(gauge, (str(row["model"]),), row["score"])

    def forget(self) -> None:
        """Shows nothing: another does."""
        if self._shown_at is not None:
            self._shown_at = None
            self._clear()

    def _clear(self) -> None:
        for gauge in (metrics.KPI, metrics.MODEL_PERFORMANCE_SCORE, metrics.KPI_SCORE):
            gauge.clear()

    async def _ask(self, name: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        saved = self._queries[name]
        defaults = saved.values({"by": "model"} if "by" in saved.parameters else {}, self.clock())
        return await self.store.query(saved.limited, {**defaults, **values})


def _set(gauge: Any, labels: tuple[str, ...], value: Any) -> None:
    """Nothing where it is not known."""
    if value is not None and math.isfinite(float(value)):
        gauge.labels(*labels).set(float(value))
