"""The figures of a window, as the store has them: each ends in its own window, however
late it came.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from schemas.events.insight.kpi import OpenBreach
from services.analyzer.kpi.domain.breaches import Reading
from services.analyzer.kpi.domain.grid import WINDOW
from services.analyzer.kpi.rules import ERROR_RATE, LATENCY, SATISFACTION, SATISFACTION_WINDOW, THREATS
from services.common.store import Store

MOST_SUBJECTS = 5000
LATE_AFTER = timedelta(seconds=10)
_LATEST = timedelta(hours=1)
_MOST_LATE = 1000
_EXAMPLES = 5
_LIMITS = "SETTINGS max_execution_time = 20, max_memory_usage = 268435456"
_THREAT = "level IN ('medium', 'high', 'critical')"
_ERROR = "outcome IN ('failed', 'expired')"
_ANSWERED = "outcome IN ('completed', 'cache_hit')"
_IN_WINDOW = "{at} >= {{from:DateTime64(3, 'UTC')}} AND {at} < {{to:DateTime64(3, 'UTC')}}"

_REQUESTS = f"""
SELECT model, tenant, count() AS requests, countIf({_ERROR}) AS errors, countIf({_ANSWERED}) AS answered,
    quantileDDIf(0.01, 0.95)(duration_ms, {_ANSWERED}) / 1000 AS p95_s
FROM inference_events WHERE {_IN_WINDOW.format(at="completed_at")}
GROUP BY GROUPING SETS ((model), (tenant))
ORDER BY requests DESC, model, tenant LIMIT {MOST_SUBJECTS} {_LIMITS}
"""  # noqa: S608  constants
_THREATS = f"""
SELECT tenant, uniqExact(request_id) AS threats
FROM security_findings WHERE {_IN_WINDOW.format(at="found_at")} AND {_THREAT}
GROUP BY tenant ORDER BY threats DESC, tenant LIMIT {MOST_SUBJECTS} {_LIMITS}
"""  # noqa: S608  constants
_RATINGS = f"""
SELECT rated_model AS model, count() AS ratings, countIf(newest = 1) AS good FROM
(
    SELECT argMax(model, (submitted_at, offset)) AS rated_model,
        argMax(rating, (submitted_at, offset)) AS newest
    FROM feedback WHERE {_IN_WINDOW.format(at="submitted_at")} GROUP BY tenant, request_id, user
)
GROUP BY model ORDER BY ratings DESC, model LIMIT {MOST_SUBJECTS} {_LIMITS}
"""  # noqa: S608  constants
_LATE_THREATS = f"""
WITH late AS
(
    SELECT tenant, found_at FROM security_findings
    WHERE {_THREAT} AND found_at >= {{oldest:DateTime64(3, 'UTC')}}
        AND found_at < {{from:DateTime64(3, 'UTC')}}
        AND recorded_at >= {{since:DateTime64(3, 'UTC')}} AND recorded_at < {{to:DateTime64(3, 'UTC')}}
    ORDER BY found_at DESC LIMIT {_MOST_LATE}
)
SELECT late.tenant AS tenant, late.found_at AS at, uniqExact(before.request_id) AS threats
FROM late INNER JOIN
(
    SELECT tenant, found_at, request_id FROM security_findings
    WHERE found_at >= {{oldest:DateTime64(3, 'UTC')}} - {{window_s:UInt32}}
        AND found_at < {{from:DateTime64(3, 'UTC')}} AND {_THREAT}
) AS before ON before.tenant = late.tenant
WHERE before.found_at <= late.found_at AND before.found_at > late.found_at - {{window_s:UInt32}}
GROUP BY tenant, at ORDER BY threats, at {_LIMITS}
"""  # noqa: S608  constants
_LATE_REQUESTS = f"""
SELECT count() AS late FROM inference_events
WHERE completed_at >= {{oldest:DateTime64(3, 'UTC')}} AND completed_at < {{to:DateTime64(3, 'UTC')}}
    AND recorded_at >= {{since:DateTime64(3, 'UTC')}} AND recorded_at < {{to:DateTime64(3, 'UTC')}}
    AND recorded_at > completed_at + {LATE_AFTER.seconds} {_LIMITS}
"""  # noqa: S608  constants
_OF_SUBJECT = (
    "(tenant = {tenant:String} OR {tenant:String} = '') AND (model = {model:String} OR {model:String} = '')"
)


def _examples(table: str, at: str, condition: str, order: str) -> str:
    return (
        f"SELECT request_id FROM {table} WHERE {_IN_WINDOW.format(at=at)} AND {_OF_SUBJECT} AND {condition} "  # noqa: S608  constants
        f"GROUP BY request_id ORDER BY {order} DESC, request_id LIMIT {_EXAMPLES} {_LIMITS}"
    )


_EXAMPLES_OF: Mapping[str, str] = {
    ERROR_RATE: _examples("inference_events", "completed_at", _ERROR, "max(completed_at)"),
    LATENCY: _examples("inference_events", "completed_at", _ANSWERED, "max(duration_ms)"),
    THREATS: _examples("security_findings", "found_at", _THREAT, "max(score)"),
    SATISFACTION: _examples("feedback", "submitted_at", "rating = -1", "max(submitted_at)"),
}


@dataclass(frozen=True)
class StoredReadings:
    """Reads them from ClickHouse. What is asked once a minute is `slow`."""

    store: Store

    async def recent(self, end: datetime) -> list[Reading]:
        """Error rates and latencies by model and by tenant, and threats by tenant, of the
        five minutes before `end`.

        Raises:
            StoreUnavailableError: not now.
        """
        window = {"from": end - WINDOW, "to": end}
        found: list[Reading] = []
        for row in await self.store.query(_REQUESTS, window):
            tenant, model = str(row["tenant"]), str(row["model"])
            requests, errors, answered = (int(row[name]) for name in ("requests", "errors", "answered"))
            found.append(Reading(ERROR_RATE, errors / requests, requests, errors, tenant, model))
            if answered:
                found.append(Reading(LATENCY, float(row["p95_s"]), answered, 0, tenant, model))
        for row in await self.store.query(_THREATS, window):
            threats = int(row["threats"])
            found.append(Reading(THREATS, threats, threats, tenant=str(row["tenant"])))
        return found

    async def slow(self, end: datetime) -> list[Reading]:
        """Satisfaction by model over the day before `end`; and threats that came too late
        for their windows, in the minute before it.

        Raises:
            StoreUnavailableError: not now.
        """
        found = []
        for row in await self.store.query(_RATINGS, {"from": end - SATISFACTION_WINDOW, "to": end}):
            ratings, good = int(row["ratings"]), int(row["good"])
            bad = ratings - good
            found.append(Reading(SATISFACTION, good / ratings, ratings, bad, model=str(row["model"])))
        late = {**_late(end), "from": end - WINDOW + timedelta(minutes=1), "window_s": WINDOW.seconds}
        for row in await self.store.query(_LATE_THREATS, late):
            threats, at = int(row["threats"]), row["at"] + timedelta(milliseconds=1)
            found.append(Reading(THREATS, threats, threats, tenant=str(row["tenant"]), window_end=at))
        return found

    async def late_requests(self, end: datetime) -> int:
        """How many requests were recorded in the minute before `end`, more than ten seconds
        after they had ended.

        Raises:
            StoreUnavailableError: not now.
        """
        return int((await self.store.query(_LATE_REQUESTS, _late(end)))[0]["late"])

    async def examples(self, breach: OpenBreach) -> tuple[str, ...]:
        """Ids of requests that show a breach: the newest errors, the slowest answers.

        Raises:
            StoreUnavailableError: not now.
        """
        sql = _EXAMPLES_OF.get(breach.metric)
        if sql is None:
            return ()
        window = {"from": breach.window_start, "to": breach.window_end}
        rows: Sequence[Mapping[str, Any]] = await self.store.query(
            sql, {**window, "tenant": breach.tenant, "model": breach.model}
        )
        return tuple(str(row["request_id"]) for row in rows)


def _late(end: datetime) -> dict[str, Any]:
    return {"oldest": end - _LATEST, "since": end - timedelta(minutes=1), "to": end}
