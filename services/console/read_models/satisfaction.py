"""How satisfied users are with the answers, by model."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from services.common.clock import Clock
from services.common.statistics.wilson import wilson_interval
from services.common.store import Store

# As v_feedback: the newest rating of a user for a request counts. Only rows of the window are
# read, and the newest of those is the newest of all wherever it lies in the window.
_SQL = """
SELECT rated_model AS model, count() AS ratings, countIf(newest = 1) AS positive
FROM
(
    SELECT
        argMax(model, (submitted_at, offset)) AS rated_model,
        argMax(rating, (submitted_at, offset)) AS newest
    FROM feedback
    WHERE tenant = {tenant:String} AND submitted_at >= {since:DateTime64(3, 'UTC')}
    GROUP BY request_id, user
)
GROUP BY model ORDER BY model
"""


@dataclass(frozen=True)
class Satisfaction:
    """Reads ratings."""

    store: Store
    clock: Clock

    async def read(self, tenant: str, window_hours: int) -> dict[str, Any]:
        """A tenant's ratings of the last hours, in all and by model.

        Raises:
            StoreUnavailableError: not now.
        """
        now = self.clock()
        since = now - timedelta(hours=window_hours)
        rows = await self.store.query(_SQL, {"tenant": tenant, "since": since.astimezone(UTC)})
        return describe(
            ((str(row["model"]), int(row["positive"]), int(row["ratings"])) for row in rows),
            since=since,
            until=now,
        )


def describe(counts: Iterable[tuple[str, int, int]], *, since: datetime, until: datetime) -> dict[str, Any]:
    """The body of the API, from each model's positive ones and ratings."""
    listed = list(counts)
    positive, ratings = sum(one[1] for one in listed), sum(one[2] for one in listed)
    return {
        "since": since.isoformat(),
        "until": until.isoformat(),
        "total": _figures(positive, ratings),
        "by_model": [{"model": model} | _figures(good, count) for model, good, count in listed],
    }


def _figures(positive: int, ratings: int) -> dict[str, Any]:
    interval = wilson_interval(positive, ratings)
    return {
        "ratings": ratings,
        "positive": positive,
        "satisfaction": positive / ratings if ratings else None,
        "interval_95": {"low": interval[0], "high": interval[1]} if interval else None,
    }
