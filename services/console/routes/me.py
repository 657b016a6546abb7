"""/api/me: what a caller may do, uses and pays, and their own keys."""

from datetime import date, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, create_model
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Limits, Scope
from services.common.http.problems import malformed
from services.common.http.request_body import BodyLimits, read_json
from services.common.http.responses import json_response
from services.common.requests.model_catalogue import Price
from services.console.administration.administrators import Administrators
from services.console.administration.bodies import RotateKey
from services.console.administration.kinds import PRIVATE, VIEWS, Display
from services.console.administration.own_keys import OwnKeys
from services.console.administration.query import read_query
from services.console.domain.cost_query import CostQuery, CostRequest, InvalidQueryError
from services.console.read_models.own_matters import OwnMatters
from services.console.routes.admin import NEW_KEY
from services.console.routes.documentation import body_of, path_of, problems, query_of
from services.console.routes.figures.budget_spend import BudgetStatus
from services.console.routes.figures.costs import CostsAnswer


class Me(BaseModel):
    """Who calls, and what they may do."""

    tenant: str
    tenant_name: str
    user: str = Field(description="Empty where the key is nobody's in particular.")
    key_id: str = Field(description="Empty for a token of an identity provider.")
    key_name: str
    scopes: list[Scope]
    models: list[str] = Field(description="Those that may be asked for, by name.")
    expires_at: datetime | None


class OwnLimits(BaseModel):
    """Upper bounds, by whose they are: each holds, so the narrowest counts. Those that
    come of TOCSIN_LIMITS_DEFAULTS are among them.
    """

    key: Limits | None
    user: Limits | None
    tenant: Limits | None
    models: dict[str, Limits] = Field(description="Of models that the caller may use.")
    requests_per_hour_by_risk: list[int | None] = Field(
        description="Of a user without findings (null: no such limit), after up to three, after more."
    )
    budgets: list[BudgetStatus] = Field(
        description="Those that bound this caller's spending. What was spent of the tenant's and its models' "
        "is null without the scope `read`."
    )


class ModelPriceNow(BaseModel):
    """What a model costs now. Dollars are decimal strings; null is not known, which is
    not free; cached input without a price of its own costs as much as the other.
    """

    model: str
    price_in_force: Price
    price_source: str = Field(description="`the models file`, or `set from` a day.")
    next_price_from: date | None = Field(description="From when (UTC) another price holds.")


class PricesAnswer(BaseModel):
    """The models that the caller may ask for, by name."""

    data: list[ModelPriceNow]


class UsageParameters(BaseModel, extra="forbid"):
    """Which days."""

    days: int = Field(30, ge=1, le=400, description="So many up to now, today being one.")
    time_zone: str = Field("UTC", max_length=64, description="A name such as Europe/Paris.")


_KEYS: dict[str, Any] = {"data": (list.__class_getitem__(VIEWS["key"]), ...)}
OwnKeysAnswer = create_model("OwnKeys", **_KEYS)


def me_router(people: Administrators, own: OwnMatters, display: Display, limits: BodyLimits) -> APIRouter:
    """A caller's own matters: any good key or token may ask."""
    router = APIRouter(prefix="/api/me", tags=["Me"])
    reads = (401, 403, 429, 503)

    @router.get("", response_model=Me, responses=problems(*reads))
    async def me(request: Request) -> Response:
        """Tell who calls and what they may do."""
        return json_response(own.who(people.principal(request, None)), headers=PRIVATE)

    @router.get("/limits", response_model=OwnLimits, responses=problems(*reads))
    async def own_limits(request: Request) -> Response:
        """Tell the limits and budgets that hold for the caller. What was spent of those
        that they share with their tenant is told to the scope `read`.
        """
        principal = people.principal(request, None)
        budgets = await own.budgets(principal, with_tenants=Scope.READ in principal.scopes)
        return json_response(own.bounds(principal) | {"budgets": budgets}, headers=PRIVATE)

    @router.get("/prices", response_model=PricesAnswer, responses=problems(*reads))
    async def prices(request: Request) -> Response:
        """Tell what the models that the caller may ask for cost now."""
        found = own.prices(people.principal(request, None))
        return json_response({"data": found}, headers=PRIVATE)

    @router.get("/keys", response_model=OwnKeysAnswer, responses=problems(*reads))
    async def own_keys(request: Request) -> Response:
        """List the caller's keys: those of the same user, or only the one they call with."""
        found = own.keys.of(people.principal(request, None))
        return json_response({"data": [display.shown(key) for key in found]}, headers=PRIVATE)

    @router.get(
        "/usage",
        response_model=CostsAnswer,
        responses=problems(400, *reads),
        openapi_extra=query_of(UsageParameters, UsageParameters.model_fields),
    )
    async def own_usage(request: Request) -> Response:
        """Tell what the caller used and cost, in all, by day and by model."""
        principal = people.principal(request, None)
        asked = read_query(request, UsageParameters, UsageParameters.model_fields)
        query = _question(asked, own.clock(), principal.tenant)
        return json_response(await own.usage(principal, query), headers=PRIVATE)

    _add_changes(router, people, own.keys, display, limits)
    return router


def _add_changes(
    router: APIRouter, people: Administrators, keys: OwnKeys, display: Display, limits: BodyLimits
) -> None:
    """What a caller does with their keys."""
    extra = path_of("{key_id}")

    @router.post(
        "/keys/{key_id}/rotate",
        response_model=NEW_KEY,
        responses=problems(400, 401, 403, 404, 408, 409, 413, 415, 429, 503),
        openapi_extra=body_of(RotateKey, required=False) | extra,
    )
    async def rotate(request: Request) -> Response:
        """Give one of the caller's keys another secret, shown once; its id stays. Not by
        a token: whoever finds one must not make a secret of it that outlives it.
        """
        who = people.administrator(request, None)
        body = await read_json(request, RotateKey, limits, empty=RotateKey())
        return display.response(*await keys.rotate(who, request.path_params["key_id"], body.overlap_s))

    @router.post(
        "/keys/{key_id}/revoke",
        response_model=VIEWS["key"],
        responses=problems(401, 403, 404, 409, 429, 503),
        openapi_extra=extra,
    )
    async def revoke(request: Request) -> Response:
        """End one of the caller's keys."""
        who = people.administrator(request, None)
        return display.response(await keys.revoke(who, request.path_params["key_id"]))


def _question(asked: UsageParameters, now: datetime, tenant: str) -> CostQuery:
    text = CostRequest(days=asked.days, time_zone=asked.time_zone, group_by="day,model")
    try:
        return text.query(now, {"tenant": tenant})
    except InvalidQueryError as error:
        raise malformed(str(error), error.name) from error
