"""The statements that read usage. All names are ours; values are parameters."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from services.console.domain.spans import Span, Step, spans
from services.console.read_models.usage.query import UsageQuery

Statement = tuple[str, dict[str, Any]]

_TABLES: Mapping[Step, tuple[str, str]] = {
    "day": ("inference_per_day", "day"),
    "hour": ("inference_per_hour", "hour"),
    "minute": ("inference_per_minute", "minute"),
    "event": ("inference_events", "completed_at"),
}
"""Where each step's sums are, and the column of their time."""
_OF_EVENTS: Mapping[str, str] = {
    "requests": "count()",
    "unpriced": "countIf(inference_events.cost_usd IS NULL)",
    "prompt_tokens": "sum(toUInt64(inference_events.prompt_tokens))",
    "completion_tokens": "sum(toUInt64(inference_events.completion_tokens))",
    "cost_usd": "sum(ifNull(inference_events.cost_usd, toDecimal64(0, 12)))",
    "duration_ms_sum": "sum(inference_events.duration_ms)",
}
"""The columns of the sums, as the rollups' writers make them of requests."""
_DIGEST = "quantilesTDigestState(0.5, 0.95, 0.99)(inference_events.duration_ms) AS duration_ms"
_TOTALS = (
    "sum(requests) AS n, sumIf(requests, outcome IN ('failed', 'expired')) AS failed, "
    "sumIf(requests, outcome = 'blocked') AS blocked, sum(unpriced) AS unpriced_n, "
    "sum(prompt_tokens) AS prompt, sum(completion_tokens) AS completion, sum(cost_usd) AS usd, "
    "sum(duration_ms_sum) AS ms"
)


def models_statement(query: UsageQuery, now: datetime) -> Statement:
    """Figures of each model, and one row of all: the one that `is_total`."""
    inner, parameters = _union(query.spans(now), query.only, "model", digests=True)
    sql = (
        f"SELECT model, grouping(model) AS is_total, {_TOTALS}, "  # noqa: S608  names of ours
        f"quantilesTDigestMerge(0.5, 0.95, 0.99)(duration_ms) AS percentiles FROM ({inner}) "
        "GROUP BY GROUPING SETS ((model), ()) ORDER BY is_total, n DESC, model"
    )
    return sql, parameters


def hours_statement(query: UsageQuery, now: datetime) -> Statement:
    """Figures of each hour of the zone in which a request ended, by its Unix time."""
    inner, parameters = _union(query.hour_spans(now), query.only, "at")
    sql = (
        f"SELECT toUnixTimestamp(toStartOfHour(at, {{zone:String}})) AS hour, {_TOTALS} "  # noqa: S608
        f"FROM ({inner}) GROUP BY hour ORDER BY hour"
    )
    return sql, parameters | {"zone": query.zone.key}


def users_statement(query: UsageQuery, _now: datetime) -> Statement:
    """Figures of the users with most requests, and how many there are in all. Whole days
    are read from the projection of users by day, unless it is asked for one model.
    """
    found = spans(query.since, query.until, () if "model" in query.only else ("day",))
    parts, parameters = [], dict[str, Any](_only(query.only))
    for number, span in enumerate(found):
        day = span.step == "day"
        column = "toDate(completed_at)" if day else "completed_at"
        where = _where(column, span, number, query.only, parameters)
        grouping = "toDate(completed_at), tenant, user" if day else "user"
        parts.append(
            "SELECT user, count() AS requests, countIf(outcome IN ('failed', 'expired')) AS failures, "  # noqa: S608
            "countIf(outcome = 'blocked') AS blocks, sum(toUInt64(prompt_tokens)) AS prompt, "
            "sum(toUInt64(completion_tokens)) AS completion, "
            "sum(ifNull(cost_usd, toDecimal64(0, 12))) AS usd, sum(duration_ms) AS ms "
            f"FROM inference_events WHERE {where} GROUP BY {grouping}"
        )
    sql = (
        "SELECT user, sum(requests) AS n, sum(failures) AS failed, sum(blocks) AS blocked, "  # noqa: S608
        "sum(part.prompt) AS prompt, sum(part.completion) AS completion, sum(part.usd) AS usd, "
        "sum(part.ms) AS ms, count() OVER () AS users "
        f"FROM ({' UNION ALL '.join(parts)}) AS part WHERE user != '' GROUP BY user "
        "ORDER BY n DESC, user LIMIT {most:UInt32}"
    )
    return sql, parameters | {"most": query.most_users}


def _union(
    found: Iterable[Span], only: Mapping[str, str], key: str, *, digests: bool = False
) -> tuple[str, dict[str, Any]]:
    """The sums of all pieces, by `key` (a column, or `at`: their time) and outcome."""
    parts, parameters = [], dict[str, Any](_only(only))
    for number, span in enumerate(found):
        table, column = _TABLES[span.step]
        name = f"{column} AS at" if key == "at" else key
        where = _where(column, span, number, only, parameters)
        if span.step == "event":
            sums = [f"{expression} AS {sum_}" for sum_, expression in _OF_EVENTS.items()]
            grouping = f" GROUP BY {key}, outcome"
            state = _DIGEST
        else:
            sums, grouping, state = list(_OF_EVENTS), "", "duration_ms"
        columns = ", ".join([name, "outcome", *sums, *([state] if digests else [])])
        parts.append(f"SELECT {columns} FROM {table} WHERE {where}{grouping}")  # noqa: S608
    return " UNION ALL ".join(parts), parameters


def _only(only: Mapping[str, str]) -> dict[str, str]:
    return {f"only_{name}": value for name, value in only.items()}


def _where(column: str, span: Span, number: int, only: Mapping[str, str], parameters: dict[str, Any]) -> str:
    """The condition of a piece; its times become parameters."""
    kind = "Date" if span.step == "day" else "DateTime64(3, 'UTC')"
    for name, moment in (("begin", span.begin), ("end", span.end)):
        parameters[f"{name}{number}"] = (
            moment.astimezone(UTC).date() if kind == "Date" else moment.astimezone(UTC)
        )
    conditions = [f"{column} >= {{begin{number}:{kind}}}", f"{column} < {{end{number}:{kind}}}"]
    conditions += [f"{name} = {{only_{name}:String}}" for name in only]
    return " AND ".join(conditions)
