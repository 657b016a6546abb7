"""/api/usage/analytics: how the platform is used."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.clock import Clock
from services.common.http.problems import malformed
from services.console.administration.authorisation import tenant_asked
from services.console.administration.query import names_of, read_query
from services.console.domain.cost_query import InvalidQueryError
from services.console.identity.callers import Caller, Callers
from services.console.read_models.usage.anomalies import Anomalies, AnomalyQuery
from services.console.read_models.usage.anomalies import flat as flat_anomalies
from services.console.read_models.usage.forecasts import Forecasts
from services.console.read_models.usage.forecasts import flat as flat_forecasts
from services.console.read_models.usage.query import UsageQuery, end_of_hour
from services.console.read_models.usage.reader import Usage
from services.console.routes.documentation import problems, query_of
from services.console.routes.figures.outlook import AnomalyTold, ForecastAnswer
from services.console.routes.figures.span import SpanParameters
from services.console.routes.figures.tagged import ANSWERS, answer

_LONGEST_DAYS = 92
Part = Literal[
    "general_metrics", "by_model", "by_user", "by_hour", "by_weekday_hour", "anomalies", "forecast"
]


class UsageFigures(BaseModel):
    """Requests that ended, tokens and dollars; what no request has is null."""

    total_requests: int
    failed_requests: int = Field(description="Failed, or expired in the queue.")
    blocked_requests: int = Field(description="Refused by a policy.")
    error_rate: float | None = Field(description="Share of the failed ones, 0 to 1.")
    avg_latency: float | None = Field(description="From the gateway taking them to their end, seconds.")
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    total_cost_usd: str = Field(description="Of those whose price is known; twelve decimals at most.")


class LatencyFigures(UsageFigures):
    """With percentiles of the latency, in seconds."""

    p50: float | None
    p95: float | None
    p99: float | None


class GeneralMetrics(LatencyFigures):
    """Of all."""

    unique_users: int = Field(description="Users who were named; who was erased counts as one, together.")


class ModelUsage(LatencyFigures):
    """A model's."""

    model: str


class UserUsage(UsageFigures):
    """A user's."""

    user: str = Field(description="A pseudonym.")


class HourUsage(UsageFigures):
    """An hour's."""

    hour: datetime = Field(description="Its beginning, in the time zone.")


class WeekdayHourUsage(BaseModel):
    """Of an hour of the week."""

    weekday: int = Field(description="1 (Monday) to 7.")
    hour: int
    total_requests: int


class UsageAnswer(BaseModel):
    """Usage of a span of time. Hours without a request are left out."""

    since: datetime
    until: datetime
    time_zone: str
    general_metrics: GeneralMetrics
    by_model: list[ModelUsage]
    by_user: list[UserUsage] = Field(description="Those with most requests.")
    by_hour: list[HourUsage]
    by_weekday_hour: list[WeekdayHourUsage]
    anomalies: list[AnomalyTold] = Field(
        description="Of the whole of what is asked about, the newest first; /api/usage/anomalies has more."
    )
    forecast: ForecastAnswer = Field(description="Of the next 24 hours, whatever the span.")


class UsageParameters(SpanParameters):
    """Which requests, and what is told of them."""

    days: int = Field(
        7,
        ge=1,
        le=_LONGEST_DAYS,
        description="Instead of `from`: so many days up to now, today being one.",
    )
    tenant: str = Field("", min_length=1, max_length=200, description="Of this tenant only.")
    model: str = Field("", min_length=1, max_length=200, description="Of this model only.")
    users: int = Field(10, ge=0, le=1000, description="So many users at most, those with most requests.")
    part: Part = Field("by_hour", description="What is told as CSV, with `Accept: text/csv`.")


_NAMES = names_of(UsageParameters)


def usage_router(
    callers: Callers, usage: Usage, anomalies: Anomalies, forecasts: Forecasts, clock: Clock
) -> APIRouter:
    """Usage."""
    router = APIRouter(prefix="/api/usage", tags=["Usage"])

    def reader(request: Request) -> Caller:
        return callers.caller(request, Scope.READ)

    @router.get(
        "/analytics",
        response_model=UsageAnswer,
        responses=problems(400, 401, 403, 429, 503) | ANSWERS,
        openapi_extra=query_of(UsageParameters, _NAMES),
    )
    async def show(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Response:
        """Tell how the caller's tenant uses the platform: in all, by model, user, hour and
        hour of the week, with what was not as expected and what is expected. A platform
        administrator may ask for any tenant, or for all.
        """
        asked = read_query(request, UsageParameters, _NAMES)
        only = {"tenant": tenant_asked(caller.principal, asked.tenant), "model": asked.model}
        query = _query(asked, {name: one for name, one in only.items() if one}, clock())
        found = await usage.read(query)
        subject = (only["tenant"], only["model"])
        found |= {
            "anomalies": await anomalies.read(
                AnomalyQuery(query.since, query.until, query.zone, subject=subject)
            ),
            "forecast": await forecasts.read(*subject, 24, query.zone),
        }
        return answer(request, found, _rows(found, asked.part))

    return router


def _rows(found: dict[str, Any], part: Part) -> list[dict[str, Any]]:
    if part == "anomalies":
        return flat_anomalies(found[part])
    if part == "forecast":
        return flat_forecasts(found[part])
    return found[part] if isinstance(found[part], list) else [found[part]]


def _query(asked: UsageParameters, only: dict[str, str], now: datetime) -> UsageQuery:
    """The question.

    Raises:
        ProblemError: 400, a part of it makes no sense.
    """
    try:
        span = asked.request().query(now, only)
    except InvalidQueryError as error:
        raise malformed(str(error), error.name) from error
    if (span.until - span.since).days > _LONGEST_DAYS:
        raise malformed(f"from: at most {_LONGEST_DAYS} days are told at once; ask for fewer.", "from")
    until = span.until if asked.to else end_of_hour(now)
    return UsageQuery(span.since, until, span.zone, only, asked.users)
