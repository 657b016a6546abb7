"""/api/quality: what users think of the answers."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.http.responses import json_response
from services.console.administration.query import read_query
from services.console.identity.callers import Caller, Callers
from services.console.read_models.satisfaction import Satisfaction
from services.console.routes.documentation import problems, query_of

_LONGEST_HOURS = 400 * 24


class Interval(BaseModel):
    """Wilson's score interval."""

    low: float
    high: float


class Figures(BaseModel):
    """Ratings and the share of good ones; null where there are none."""

    ratings: int
    positive: int
    satisfaction: float | None = Field(description="0 to 1.")
    interval_95: Interval | None


class ModelFigures(Figures):
    """A model's."""

    model: str


class SatisfactionParameters(BaseModel, extra="forbid"):
    """Which hours."""

    window_hours: int = Field(24, ge=1, le=_LONGEST_HOURS, description="So many up to now.")


class SatisfactionAnswer(BaseModel):
    """Ratings of a window."""

    since: datetime
    until: datetime
    total: Figures
    by_model: list[ModelFigures]


def quality_router(callers: Callers, satisfaction: Satisfaction) -> APIRouter:
    """Quality."""
    router = APIRouter(prefix="/api/quality", tags=["Quality"])

    def reader(request: Request) -> Caller:
        return callers.caller(request, Scope.READ)

    @router.get(
        "/satisfaction",
        response_model=SatisfactionAnswer,
        responses=problems(400, 401, 403, 429, 503),
        openapi_extra=query_of(SatisfactionParameters, SatisfactionParameters.model_fields),
    )
    async def show(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Response:
        """Tell the share of good ratings that the caller's tenant gave, in all and by model."""
        asked = read_query(request, SatisfactionParameters, SatisfactionParameters.model_fields)
        return json_response(await satisfaction.read(caller.tenant, asked.window_hours))

    return router
