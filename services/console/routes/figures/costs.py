"""/api/costs: what requests cost."""

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.clock import Clock
from services.common.control.reader import ControlReader
from services.common.control.state import ControlState
from services.common.http.problems import malformed
from services.common.http.responses import json_response
from services.console.administration.authorisation import tenant_asked
from services.console.administration.query import names_of, read_query
from services.console.domain.cost_names import CostNames
from services.console.domain.cost_query import DIMENSIONS, InvalidQueryError
from services.console.domain.csv_text import csv_text
from services.console.identity.callers import Caller, Callers
from services.console.read_models.costs import Costs
from services.console.routes.documentation import problems, query_of
from services.console.routes.figures.span import SpanParameters

_LONGEST_DAYS = 400


class CostFigures(BaseModel):
    """Requests, tokens and dollars; dollars are decimal strings with twelve decimals at
    most.

    Requests whose price is not known are counted in `unpriced_requests`, and cost
    nothing here; means are over the others.
    """

    requests: int
    unpriced_requests: int
    prompt_tokens: int
    cached_tokens: int = Field(description="Of the prompt's.")
    completion_tokens: int
    cost_usd: str
    cost_per_request_usd: str | None
    cost_per_token_usd: str | None


class CostGroup(CostFigures):
    """Those of a group, which has a name by each dimension that was asked for."""

    tenant: str | None = None
    user: str | None = Field(None, description="A pseudonym.")
    model: str | None = None
    key: str | None = None
    user_id: str | None = Field(None, description="Who that is, `tenant/user`; for administrators.")
    key_name: str | None = Field(None, description="What that key is called; for administrators.")
    day: date | None = None


class CostsAnswer(BaseModel):
    """Costs of a span of time."""

    since: datetime
    until: datetime
    time_zone: str
    group_by: list[str]
    total: CostFigures
    groups: list[CostGroup]
    has_more_groups: bool


class CostParameters(SpanParameters):
    """Which requests, and by what their costs are told."""

    days: int = Field(
        30,
        ge=1,
        le=_LONGEST_DAYS,
        description="Instead of `from`: so many days up to now, today being one.",
    )
    group_by: str = Field(
        "model", max_length=40, description=f"Any of {', '.join(DIMENSIONS)}, separated by commas; or none."
    )
    tenant: str = Field("", min_length=1, max_length=200, description="Of this tenant only.")
    user: str = Field(
        "",
        min_length=1,
        max_length=200,
        description="Of this user only: a pseudonym; for administrators also user or tenant/user.",
    )
    model: str = Field("", min_length=1, max_length=200, description="Of this model only.")
    key: str = Field("", min_length=1, max_length=200, description="Of this key only, by its id.")
    limit: int = Field(1000, ge=1, le=10_000, description="Most groups, the dearest first.")


_NAMES = names_of(CostParameters)


def costs_router(
    callers: Callers, costs: Costs, clock: Clock, control: ControlReader, pseudonym_key: str
) -> APIRouter:
    """Costs; `control` and `pseudonym_key` tell administrators who is meant."""
    router = APIRouter(prefix="/api", tags=["Costs"])

    def reader(request: Request) -> Caller:
        return callers.caller(request, Scope.READ)

    @router.get(
        "/costs",
        response_model=CostsAnswer,
        responses=problems(400, 401, 403, 429, 503) | {200: {"content": {"text/csv": {}}}},
        openapi_extra=query_of(CostParameters, _NAMES),
    )
    async def show(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Response:
        """Tell what the requests of the caller's tenant cost, in all and by group; with
        `Accept: text/csv` the groups as CSV. A platform administrator may ask for any
        tenant, or for all.
        """
        asked = read_query(request, CostParameters, _NAMES)
        tenant = tenant_asked(caller.principal, asked.tenant)
        names = _names(caller, control.state, pseudonym_key)
        try:
            only = {"tenant": tenant, "user": asked.user, "model": asked.model, "key": asked.key}
            query = asked.request(asked.group_by).query(clock(), names.looked_up(only), asked.limit)
            found = await costs.read(query)
            names.require_known(only, found)
        except InvalidQueryError as error:
            raise malformed(str(error), error.name) from error
        found = names.named(found)
        if "text/csv" in request.headers.get("accept", ""):
            return Response(_csv(found), media_type="text/csv")
        return json_response(found)

    return router


def _names(caller: Caller, state: ControlState, pseudonym_key: str) -> CostNames:
    """The names that the caller may know: an administrator's own, or all."""
    principal = caller.principal
    tenant = "" if principal.is_platform_admin else caller.tenant
    return CostNames(state, pseudonym_key, tenant, shows_users=Scope.ADMIN in principal.scopes)


def _csv(found: dict[str, Any]) -> str:
    """The groups, or without any the total."""
    rows = found["groups"] if found["group_by"] else [found["total"]]
    beside = [name for name in ("user_id", "key_name") if rows and name in rows[0]]
    return csv_text(rows, [*found["group_by"], *beside, *found["total"]])
