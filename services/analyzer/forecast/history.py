"""What a round rests on: sums by the hour of the busiest tenants and models, from the
rollup of hours and the findings.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.analyzer.anomalies.domain.tracking import Known
from services.common.store import Store

DAYS = 42
_RANKED_DAYS = 28
_KNOWN_DAYS = 7
OTHERS = "(others)"
"""Tenants and models that are too many to be told apart."""

_LIMITS = "SETTINGS max_execution_time = 60, max_memory_usage = 536870912, max_threads = 1"
_SPAN = "hour >= {since:DateTime('UTC')} AND hour < {until:DateTime('UTC')}"
_RANKED = (
    "SELECT {name} AS name FROM inference_per_hour WHERE hour >= {{ranked:DateTime('UTC')}} "  # noqa: S608
    "AND hour < {{until:DateTime('UTC')}} AND {name} != '' GROUP BY {name} "
    f"ORDER BY sum(requests) DESC, name LIMIT {{{{most:UInt32}}}} {_LIMITS}"
)
_FOLDED = (
    f"if(tenant IN {{tenants:Array(String)}}, tenant, '{OTHERS}') AS of_tenant, "
    f"if(model IN {{models:Array(String)}}, model, '{OTHERS}') AS of_model"
)
_USAGE = (
    f"SELECT intDiv(toUnixTimestamp(hour), 3600) AS at, {_FOLDED}, sum(requests) AS n, "  # noqa: S608  names of ours
    "sumIf(requests, outcome IN ('failed', 'expired')) AS failures, "
    "sum(prompt_tokens + completion_tokens) AS all_tokens, toFloat64(sum(cost_usd)) AS usd, "
    "sum(duration_ms_sum) / 1000 AS seconds "
    f"FROM inference_per_hour WHERE {_SPAN} GROUP BY at, of_tenant, of_model {_LIMITS}"
)
_THREATS = (
    f"SELECT intDiv(toUnixTimestamp(toStartOfHour(found_at)), 3600) AS at, {_FOLDED}, count() AS findings "  # noqa: S608  names of ours
    "FROM security_findings WHERE found_at >= {since:DateTime('UTC')} AND found_at < {until:DateTime('UTC')} "
    f"AND level IN ('medium', 'high', 'critical') GROUP BY at, of_tenant, of_model {_LIMITS}"
)
_NEWEST = (
    "SELECT as_of, tenant, model, max(known_hours) AS hours FROM forecasts FINAL "  # noqa: S608  names of ours
    f"WHERE as_of = (SELECT max(as_of) FROM forecasts) GROUP BY as_of, tenant, model {_LIMITS}"
)
_KNOWN = (
    "SELECT anomaly_id, tenant, model, method, figure, side, "  # noqa: S608  names of ours
    "intDiv(toUnixTimestamp(began_at), 3600) AS first, "
    "intDiv(toUnixTimestamp(ended_at), 3600) - 1 AS last FROM anomalies FINAL "
    f"WHERE ended_at >= {{since:DateTime('UTC')}} ORDER BY found_at, anomaly_id {_LIMITS}"
)
_SUMS = {
    "requests": "n",
    "failed": "failures",
    "tokens": "all_tokens",
    "cost_usd": "usd",
    "duration_s": "seconds",
}

Sums = dict[str, list[float]]


@dataclass(frozen=True)
class Subject:
    """The platform (both empty), a tenant or a model; `sums` of its hours from `first_hour`
    (since 1970) on, and those of its tenants and models.
    """

    tenant: str
    model: str
    first_hour: int
    sums: Sums
    parts: Mapping[str, Mapping[str, Sums]] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """A round in the store: `known_hours` by tenant and model, 0 where nothing could be
    worked out.
    """

    as_of: datetime
    known_hours: Mapping[tuple[str, str], int]

    def continues(self, subject: Subject, as_of: datetime) -> bool:
        """Whether a subject's history is what it was, but for the hours since."""
        before = self.known_hours.get((subject.tenant, subject.model), 0)
        since = (as_of - self.as_of) // timedelta(hours=1)
        return 0 < len(subject.sums["requests"]) <= before + since


@dataclass(frozen=True)
class StoredHistory:
    """Reads it from ClickHouse. `most_tenants` and `most_models` are those with most
    requests in four weeks; all others count together.
    """

    store: Store
    most_tenants: int
    most_models: int

    async def newest_round(self) -> Round | None:
        """As of when there are forecasts, and how much was known of each subject then.

        Raises:
            StoreUnavailableError: not now.
        """
        rows = await self.store.query(_NEWEST)
        if not rows:
            return None
        known = {(str(row["tenant"]), str(row["model"])): int(row["hours"]) for row in rows}
        return Round(rows[0]["as_of"].astimezone(UTC), known)

    async def known(self, since: datetime) -> list[Known]:
        """Anomalies that lasted beyond a week before `since`, in the order they were found.

        Raises:
            StoreUnavailableError: not now.
        """
        rows = await self.store.query(_KNOWN, {"since": since - timedelta(days=_KNOWN_DAYS)})
        return [Known(**{name: row[name] for name in Known.__slots__}) for row in rows]

    async def read(self, as_of: datetime) -> list[Subject]:
        """The platform, then tenants and models, the busiest first, up to the hour that
        ended at `as_of`. Hours are counted from the midnight six weeks before, or from a
        subject's first event.

        Raises:
            StoreUnavailableError: not now.
        """
        midnight = as_of.replace(hour=0)
        span: dict[str, Any] = {"since": midnight - timedelta(days=DAYS), "until": as_of}
        ranked = {**span, "ranked": as_of - timedelta(days=_RANKED_DAYS)}
        tenants = await self._ranked("tenant", {**ranked, "most": self.most_tenants})
        models = await self._ranked("model", {**ranked, "most": self.most_models})
        named = {**span, "tenants": tenants, "models": models}
        hours = range(int(span["since"].timestamp()) // 3600, int(as_of.timestamp()) // 3600)
        cells = _Cells(hours)
        for row in await self.store.query(_USAGE, named):
            cells.add(row, {name: row[column] for name, column in _SUMS.items()})
        for row in await self.store.query(_THREATS, named):
            cells.add(row, {"threats": row["findings"]})
        return list(cells.subjects(tenants, models))

    async def _ranked(self, name: str, parameters: Mapping[str, Any]) -> list[str]:
        if not parameters["most"]:
            return []
        rows = await self.store.query(_RANKED.format(name=name), parameters)
        return [str(row["name"]) for row in rows]


class _Cells:
    """Sums by tenant and model, of which all others are made."""

    def __init__(self, hours: range) -> None:
        self._hours = hours
        self._cells: dict[tuple[str, str], Sums] = defaultdict(self._nothing)

    def add(self, row: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Counts a row of the store."""
        sums, place = self._cells[row["of_tenant"], row["of_model"]], row["at"] - self._hours.start
        for name, value in values.items():
            sums[name][place] += float(value)

    def subjects(self, tenants: list[str], models: list[str]) -> Iterator[Subject]:
        """The platform, tenants, models."""
        yield self._subject("", "", ("tenant", "model"))
        for tenant in tenants:
            yield self._subject(tenant, "", ("model",))
        for model in models:
            yield self._subject("", model, ("tenant",))

    def _subject(self, tenant: str, model: str, dimensions: tuple[str, ...]) -> Subject:
        sums = self._nothing()
        parts: dict[str, dict[str, Sums]] = {name: defaultdict(self._nothing) for name in dimensions}
        for (of_tenant, of_model), cell in self._cells.items():
            if (tenant and of_tenant != tenant) or (model and of_model != model):
                continue
            _add(sums, cell)
            for dimension, value in (("tenant", of_tenant), ("model", of_model)):
                if dimension in parts:
                    _add(parts[dimension][value], cell)
        begin = _begin(sums)
        cut = {
            dimension: {value: _from(one, begin) for value, one in values.items()}
            for dimension, values in parts.items()
        }
        return Subject(tenant, model, self._hours.start + begin, _from(sums, begin), cut)

    def _nothing(self) -> Sums:
        return {name: [0.0] * len(self._hours) for name in (*_SUMS, "threats")}


def _add(sums: Sums, cell: Sums) -> None:
    for name, values in cell.items():
        sums[name] = [one + other for one, other in zip(sums[name], values, strict=True)]


def _begin(sums: Sums) -> int:
    """The first hour in which there was anything: what came before is no quiet time."""
    happened = [
        requests or threats for requests, threats in zip(sums["requests"], sums["threats"], strict=True)
    ]
    return next((place for place, one in enumerate(happened) if one), len(happened))


def _from(sums: Sums, begin: int) -> Sums:
    return {name: values[begin:] for name, values in sums.items()}
