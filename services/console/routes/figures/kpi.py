"""/api/usage/breaches and /api/quality/models: thresholds that were crossed, and how models
do now.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.clock import Clock
from services.common.store.reading import ViewReader
from services.common.store.saved_queries import saved_queries
from services.console.administration.authorisation import tenant_asked
from services.console.administration.query import names_of, read_query
from services.console.domain.exporting.filters import moment_text
from services.console.identity.callers import Caller, Callers
from services.console.routes.documentation import problems, query_of
from services.console.routes.figures.lists import ListParameters, ViewList
from services.console.routes.figures.tagged import ANSWERS, answer

VIEW = "v_breaches"
_TYPES = {
    "began_at": "DateTime64(3, 'UTC')",
    "recovered_at": "Nullable(DateTime64(3, 'UTC'))",
    **dict.fromkeys(("breach_id", "tenant", "model"), "String"),
    "user": "Nullable(String)",
    **dict.fromkeys(("metric", "severity"), "String"),
    **dict.fromkeys(("threshold", "value"), "Float64"),
    "duration_ms": "Nullable(Int64)",
    "examples": "Array(String)",
    "summary": "String",
}
_SINCE = timedelta(minutes=1)


class BreachesParameters(ListParameters):
    """Which breaches, by when they began."""

    model: str = Field("", min_length=1, max_length=200, description="Of this model only.")
    metric: str = Field("", min_length=1, max_length=60, description="Such as error_rate.")
    state: Literal["all", "open", "recovered"] = Field("all", description="`open` are those that last.")


class Breach(BaseModel):
    """A threshold that was crossed."""

    began_at: datetime
    recovered_at: datetime | None = Field(description="Null as long as it lasts.")
    breach_id: str
    tenant: str = Field(description="Empty for the whole platform.")
    model: str = Field(description="Empty for all.")
    user: str | None
    metric: str
    severity: str
    threshold: float
    value: float
    duration_ms: int | None
    examples: list[str] = Field(description="Request ids that show it.")
    summary: str


class BreachesAnswer(BaseModel):
    """A page, the newest first."""

    data: list[Breach]
    next_cursor: str | None


class ModelsParameters(BaseModel, extra="forbid"):
    """Of whom, and of how long."""

    minutes: int = Field(
        60, ge=1, le=1440, description="So many up to now, but for the scores, which are of an hour."
    )
    tenant: str = Field("", min_length=1, max_length=64, description="Of this tenant only.")
    by: Literal["model", "tenant", "user", "all"] = Field("model", description="Whose figures.")
    limit: int = Field(20, ge=1, le=1000, description="So many by name, the others together as `(other)`.")


class ModelsAnswer(BaseModel):
    """Figures of the last minutes, and models' scores."""

    since: datetime
    until: datetime
    figures: list[dict[str, Any]] = Field(description="Columns of the saved query operations/window.")
    scores: list[dict[str, Any]] | None = Field(
        description="Columns of quality/model_scores; null but for platform administrators who ask for all "
        "tenants, whose requests a score is of."
    )


_BREACHES = names_of(BreachesParameters)
_MODELS = tuple(ModelsParameters.model_fields)


@dataclass(frozen=True)
class _Routes:
    reader: ViewReader
    clock: Clock

    async def breaches(self, request: Request, caller: Caller) -> Response:
        asked = read_query(request, BreachesParameters, _BREACHES)
        tenant = tenant_asked(caller.principal, asked.tenant)
        filters = [f"{name}={one}" for name in ("model", "metric") if (one := getattr(asked, name))]
        filters += {"all": [], "open": ["recovered_at="], "recovered": ["recovered_at!="]}[asked.state]
        found = await ViewList(self.reader, VIEW, _TYPES).page(asked, filters, tenant, self.clock())
        return answer(request, found, found["data"])

    async def models(self, request: Request, caller: Caller) -> Response:
        asked = read_query(request, ModelsParameters, _MODELS)
        tenant = tenant_asked(caller.principal, asked.tenant)
        until = self.clock().replace(second=0, microsecond=0) + _SINCE
        since = until - timedelta(minutes=asked.minutes)
        times = {"from": moment_text(since), "to": moment_text(until)}
        figures = await self._ask(
            "operations/window", times | {"by": asked.by, "tenant": tenant, "limit": str(asked.limit)}, tenant
        )
        scores = None
        if caller.principal.is_platform_admin and not tenant:
            scores = await self._ask("quality/model_scores", times | {"limit": str(asked.limit)}, "")
        found = {"since": since.isoformat(), "until": until.isoformat(), "figures": figures, "scores": scores}
        return answer(request, found, figures)

    async def _ask(self, name: str, values: dict[str, str], tenant: str) -> list[dict[str, Any]]:
        saved = saved_queries()[name]
        given = {one: value for one, value in values.items() if one in saved.parameters}
        return await self.reader.rows(saved.sql, given, tenant=tenant)


def kpi_router(callers: Callers, reader: ViewReader, clock: Clock) -> APIRouter:
    """Breaches, and how models do."""
    router = APIRouter(prefix="/api")
    routes = _Routes(reader, clock)

    def may_read(request: Request) -> Caller:
        return callers.caller(request, Scope.READ)

    @router.get(
        "/usage/breaches",
        tags=["Usage"],
        response_model=BreachesAnswer,
        responses=problems(400, 401, 403, 429, 503) | ANSWERS,
        openapi_extra=query_of(BreachesParameters, _BREACHES),
    )
    async def breaches(request: Request, caller: Annotated[Caller, Depends(may_read)]) -> Response:
        """List thresholds that the caller's tenant's figures crossed, the newest first."""
        return await routes.breaches(request, caller)

    @router.get(
        "/quality/models",
        tags=["Quality"],
        response_model=ModelsAnswer,
        responses=problems(400, 401, 403, 429, 503) | ANSWERS,
        openapi_extra=query_of(ModelsParameters, _MODELS),
    )
    async def models(request: Request, caller: Annotated[Caller, Depends(may_read)]) -> Response:
        """Tell how the models do for the caller's tenant: errors, latencies, tokens, cost and
        satisfaction of the last minutes, and for the platform each model's score.
        """
        return await routes.models(request, caller)

    return router
