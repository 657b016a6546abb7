"""/api/usage/forecast, /anomalies and /capacity: what is expected, what was not, and what
it takes.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.budgets.periods import zone_names
from services.common.clock import Clock
from services.common.http.problems import forbidden, malformed
from services.common.requests.model_catalogue import ModelConfig
from services.console.administration.authorisation import tenant_asked
from services.console.administration.query import names_of, read_query
from services.console.domain.capacity.advice import Goal, Replica
from services.console.domain.cost_query import InvalidQueryError
from services.console.identity.callers import Caller, Callers
from services.console.read_models.usage.anomalies import Anomalies, AnomalyQuery
from services.console.read_models.usage.anomalies import flat as flat_anomalies
from services.console.read_models.usage.capacity import Capacity
from services.console.read_models.usage.forecasts import Forecasts
from services.console.read_models.usage.forecasts import flat as flat_forecasts
from services.console.read_models.usage.query import end_of_hour
from services.console.routes.documentation import problems, query_of
from services.console.routes.figures.span import SpanParameters
from services.console.routes.figures.tagged import ANSWERS, answer

_LONGEST_DAYS = 400


class ExpectedHour(BaseModel):
    """Of an hour: more than the median in half of the cases, within the bounds in 80 and
    in 95 of a hundred.
    """

    hour: datetime = Field(description="Its beginning, in the time zone.")
    median: float
    low_80: float
    high_80: float
    low_95: float
    high_95: float


class ForecastTold(BaseModel):
    """A figure's forecast, how it was made, and how such forecasts did on the history."""

    figure: str = Field(description="requests, tokens, cost_usd or threats, an hour.")
    method: str = Field(description="The model that made it; none where there is no forecast.")
    baseline: str = Field(description="The better seasonal-naive forecast.")
    beats_baseline: bool = Field(description="If not, the baseline is what is given.")
    relative_error: float | None = Field(description="Its error over the baseline's: below 1 is better.")
    coverage_80: float | None = Field(description="Share of the history within the 80 % interval.")
    coverage_95: float | None
    known_hours: int = Field(description="Hours of history.")
    total: float | None = Field(description="The sum of the medians.")
    notes: list[str] = Field(description="What limits it; why there is none.")
    expected: list[ExpectedHour] = Field(description="Empty where too little is known.")


class ForecastAnswer(BaseModel):
    """The newest forecasts of a tenant, a model or (without either) the platform."""

    as_of: datetime | None = Field(description="Up to when hours were known; null where there is none.")
    time_zone: str
    tenant: str
    model: str
    horizon_hours: int
    notes: list[str] = Field(description="Why there is none.")
    forecasts: list[ForecastTold]


class DriverTold(BaseModel):
    """What made the change: `share` of it is due to this value of a dimension."""

    dimension: str = Field(description="tenant or model; figure, where figures do not fit each other.")
    value: str
    observed: float
    expected: float
    share: float


class AnomalyTold(BaseModel):
    """Hours that were not as they should be; `observed`, `expected` and bounds are of the
    most unusual one.
    """

    anomaly_id: str
    tenant: str = Field(description="Empty for the platform and for models.")
    model: str = Field(description="Empty for the platform and for tenants.")
    method: str = Field(description="seasonal (a figure against its past) or joint (figures together).")
    figure: str = Field(description="requests, tokens, cost_usd, errors, latency_s, threats or joint.")
    kind: str = Field(description="spike, dip, silence, shift, drift or combination.")
    side: str = Field(description="above or below what was expected.")
    lasts: bool = Field(description="Whether it was not over when hours were judged last.")
    found_at: datetime
    began_at: datetime
    ended_at: datetime
    peak_at: datetime
    observed: float
    expected: float
    low: float
    high: float
    score: float = Field(description="-log10 of the chance of what came; 99 at most.")
    total_observed: float
    total_expected: float
    drivers: list[DriverTold] = Field(description="Empty where all changed alike.")


class AnomaliesAnswer(BaseModel):
    """Anomalies of a span of time, the newest first."""

    since: datetime
    until: datetime
    time_zone: str
    anomalies: list[AnomalyTold]


class CapacityOption(BaseModel):
    """`present`: the replicas as they are; `fixed`: as many as the busiest hour takes;
    `by_hour`: so many in each hour. Waits and utilisation are of the worst hour.
    """

    name: str
    replicas: int | list[int]
    slots: int
    accelerators: int
    wait_p95_s: float | None = Field(description="null: endless.")
    utilisation: float | None = Field(description="Over 1 the queue grows without end.")
    hours_missed: int = Field(description="Hours in which the wait is longer than was asked for.")
    cost_usd: str = Field(description="Of the whole horizon.")


class CapacityAnswer(BaseModel):
    """What a model needs for its forecast, or why that cannot be told (`refused`)."""

    model: str
    horizon_hours: int
    wait_p95_s: float
    bound: str
    replica: dict[str, Any]
    refused: str | None
    basis: dict[str, Any] | None = Field(description="Measured and forecast figures that it rests on.")
    options: list[CapacityOption]
    notes: list[str]


class ForecastParameters(BaseModel, extra="forbid"):
    """Whose forecasts."""

    tenant: str = Field("", min_length=1, max_length=200, description="Of this tenant.")
    model: str = Field("", min_length=1, max_length=200, description="Of this model, over all tenants.")
    hours: Literal["24", "168"] = Field("24", description="How far ahead.")
    time_zone: str = Field("UTC", max_length=64, description="A name such as Europe/Paris.")


class AnomalyParameters(SpanParameters):
    """Which anomalies: those of which an hour lies in the span."""

    days: int = Field(
        7, ge=1, le=_LONGEST_DAYS, description="Instead of `from`: so many days up to now, today being one."
    )
    tenant: str = Field("", min_length=1, max_length=200, description="Of this tenant only.")
    model: str = Field(
        "",
        min_length=1,
        max_length=200,
        description="Of this model only; models are judged over all tenants, which the platform alone sees.",
    )
    figure: str = Field("", min_length=1, max_length=40, description="Of this figure only.")
    lasting: bool = Field(False, description="Those alone that are not over.")
    limit: int = Field(100, ge=1, le=1000, description="At most so many, the newest first.")


class CapacityParameters(BaseModel, extra="forbid"):
    """What is asked of a model's capacity."""

    model: str = Field("", min_length=1, max_length=200, description="Which; left out: the only one.")
    hours: Literal["24", "168"] = Field("24", description="How far ahead.")
    wait_s: float = Field(1.0, ge=0, le=3600, description="95 % of requests shall wait at most so long (s).")
    bound: Literal["median", "high80", "high95"] = Field(
        "high80", description="Which bound of the forecast is to be served."
    )
    replicas: int | None = Field(None, ge=0, le=10_000, description="How many there are; left out: the most.")
    slots: int | None = Field(None, ge=1, le=10_000, description="Of a replica; left out: as configured.")
    accelerators: int | None = Field(None, ge=0, le=1000, description="Of a replica, likewise.")
    replica_cost_usd: Decimal = Field(
        Decimal(0), ge=0, le=100_000, description="What a replica costs an hour."
    )


@dataclass(frozen=True)
class Outlook:
    """What the routes read."""

    anomalies: Anomalies
    forecasts: Forecasts
    capacity: Capacity
    models: tuple[ModelConfig, ...]


def outlook_router(callers: Callers, outlook: Outlook, clock: Clock) -> APIRouter:
    """Forecasts, anomalies and capacity."""
    router = APIRouter(prefix="/api/usage", tags=["Usage"])

    def reader(request: Request) -> Caller:
        return callers.caller(request, Scope.READ)

    @router.get(
        "/forecast",
        response_model=ForecastAnswer,
        responses=problems(400, 401, 403, 429, 503) | ANSWERS,
        openapi_extra=query_of(ForecastParameters, names_of(ForecastParameters)),
    )
    async def forecast(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Response:
        """Tell what is expected of the caller's tenant in each of the next hours. A platform
        administrator may ask for any tenant or model, or for the whole platform.
        """
        asked = read_query(request, ForecastParameters, names_of(ForecastParameters))
        tenant = tenant_asked(caller.principal, asked.tenant)
        zone = _zone(asked.time_zone)
        found = await outlook.forecasts.read(tenant, asked.model, int(asked.hours), zone)
        return answer(request, found, flat_forecasts(found))

    @router.get(
        "/anomalies",
        response_model=AnomaliesAnswer,
        responses=problems(400, 401, 403, 429, 503) | ANSWERS,
        openapi_extra=query_of(AnomalyParameters, names_of(AnomalyParameters)),
    )
    async def anomalies(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Response:
        """Tell which hours of the caller's tenant were not as expected, and what made them
        so. A platform administrator is told of the platform, its tenants and its models.
        """
        asked = read_query(request, AnomalyParameters, names_of(AnomalyParameters))
        tenant = tenant_asked(caller.principal, asked.tenant)
        query = _anomaly_query(asked, tenant, clock())
        found = await outlook.anomalies.read(query)
        body = {
            "since": query.since.isoformat(),
            "until": query.until.isoformat(),
            "time_zone": query.zone.key,
            "anomalies": found,
        }
        return answer(request, body, flat_anomalies(found))

    @router.get(
        "/capacity",
        response_model=CapacityAnswer,
        responses=problems(400, 401, 403, 429, 503) | ANSWERS,
        openapi_extra=query_of(CapacityParameters, names_of(CapacityParameters)),
    )
    async def capacity(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Response:
        """Tell how many replicas a model needs for its forecast, so that 95 % of requests
        wait no longer than is asked for, and what each option costs. For administrators of
        the platform.
        """
        asked = read_query(request, CapacityParameters, names_of(CapacityParameters))
        if not caller.principal.is_platform_admin:
            raise forbidden("Capacity is of all tenants together: it takes a platform administrator's key.")
        model = _model(outlook.models, asked.model)
        replica = Replica(
            asked.slots or model.slots,
            math.ceil(model.num_gpus) if asked.accelerators is None else asked.accelerators,
            asked.replica_cost_usd,
        )
        present = model.replicas.max if asked.replicas is None else asked.replicas
        goal = Goal(asked.wait_s, asked.bound)
        found = await outlook.capacity.advice(
            model.name, int(asked.hours), replica=replica, present=present, goal=goal
        )
        return answer(request, found, found["options"])

    return router


def _zone(name: str) -> ZoneInfo:
    if name not in zone_names():
        raise malformed(f"time_zone {name!r} is unknown; use a name such as Europe/Paris.", "time_zone")
    return ZoneInfo(name)


def _model(models: tuple[ModelConfig, ...], name: str) -> ModelConfig:
    found = [one for one in models if name in one.served_names or (not name and len(models) == 1)]
    if not found:
        there_are = ", ".join(one.name for one in models)
        raise malformed(f"model: name one of {there_are}.", "model")
    return found[0]


def _anomaly_query(asked: AnomalyParameters, tenant: str, now: datetime) -> AnomalyQuery:
    """The question.

    Raises:
        ProblemError: 400, a part of it makes no sense.
    """
    only = {"tenant": tenant, "model": asked.model, "figure": asked.figure}
    try:
        span = asked.request().query(now, only)
    except InvalidQueryError as error:
        raise malformed(str(error), error.name) from error
    if (span.until - span.since).days > _LONGEST_DAYS:
        raise malformed(f"from: at most {_LONGEST_DAYS} days are told at once; ask for fewer.", "from")
    chosen = {name: value for name, value in only.items() if value}
    until = span.until if asked.to else end_of_hour(now)
    return AnomalyQuery(span.since, until, span.zone, chosen, lasting=asked.lasting, limit=asked.limit)
