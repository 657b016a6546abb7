"""/api/me: what a caller may, uses and pays, and his own keys."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, create_model
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import BudgetChanged, Limits, Scope
from services.common.clock import Clock
from services.common.control.principal import Principal
from services.common.control.state import ControlState
from services.common.errors import StoreUnavailableError
from services.common.http.problems import malformed
from services.common.http.request_body import BodyLimits, read_json
from services.common.http.responses import json_response
from services.console.administration.bodies import RotateKey
from services.console.administration.callers import Administrators
from services.console.administration.kinds import PRIVATE, VIEWS, Display
from services.console.administration.own_keys import OwnKeys
from services.console.administration.query import read_query
from services.console.domain.cost_question import AskedCosts, InvalidQuestionError
from services.console.read_models.budgets import BudgetSpend
from services.console.read_models.costs import Costs
from services.console.routes.admin import NEW_KEY
from services.console.routes.budget_spend import BudgetStanding
from services.console.routes.costs import CostsAnswer
from services.console.routes.documentation import body_of, path_of, problems, query_of


class Me(BaseModel):
    """Who calls, and what he may do."""

    tenant: str
    tenant_name: str
    user: str = Field(description="Empty where the key is nobody's in particular.")
    key_id: str = Field(description="Empty for a token of an identity provider.")
    key_name: str
    scopes: list[Scope]
    models: list[str] = Field(description="Those that may be asked for, by name.")
    expires_at: datetime | None


class OwnLimits(BaseModel):
    """Upper bounds, by whose they are: each holds, so the narrowest counts."""

    key: Limits | None
    user: Limits | None
    tenant: Limits | None
    models: dict[str, Limits]
    requests_per_hour_by_risk: list[int] = Field(
        description="Of a user without findings, after up to three, after more."
    )
    budgets: list[BudgetStanding] = Field(description="Those that bound this caller's spending.")


class UsageParameters(BaseModel, extra="forbid"):
    """Which days."""

    days: int = Field(30, ge=1, le=400, description="So many up to now, today being one.")
    time_zone: str = Field("UTC", max_length=64, description="A name such as Europe/Paris.")


_KEYS: dict[str, Any] = {"data": (list.__class_getitem__(VIEWS["key"]), ...)}
OwnKeysAnswer = create_model("OwnKeys", **_KEYS)


def me_router(
    people: Administrators,
    keys: OwnKeys,
    costs: Costs,
    spend: BudgetSpend,
    *,
    display: Display,
    limits: BodyLimits,
    models: frozenset[str],
    clock: Clock,
) -> APIRouter:
    """A caller's own matters."""
    router, control = APIRouter(prefix="/api/me", tags=["Me"]), keys.control
    reads, changes = (401, 403, 429, 503), (400, 401, 403, 404, 408, 409, 413, 415, 429, 503)

    @router.get("", response_model=Me, responses=problems(*reads))
    async def me(request: Request) -> Response:
        """Tell who calls and what he may do."""
        found = _me(people.principal(request, None), control.state, models)
        return json_response(found.model_dump(mode="json"), headers=PRIVATE)

    @router.get("/limits", response_model=OwnLimits, responses=problems(*reads))
    async def own_limits(request: Request) -> Response:
        """Tell the limits and budgets that hold for the caller, as they are set."""
        principal = people.principal(request, None)
        budgets = [one for one in control.state.budgets.values() if _bounds(principal, one)]
        found = _limits(principal, control.state).model_dump(mode="json")
        return json_response(found | {"budgets": await _standing(spend, budgets)}, headers=PRIVATE)

    @router.get("/keys", response_model=OwnKeysAnswer, responses=problems(*reads))
    async def own_keys(request: Request) -> Response:
        """List the caller's keys: those of the same user, or only the one he calls with."""
        found = keys.of(people.principal(request, None))
        return json_response({"data": [display.shown(key) for key in found]}, headers=PRIVATE)

    @router.get(
        "/usage",
        response_model=CostsAnswer,
        responses=problems(400, *reads),
        openapi_extra=query_of(UsageParameters, UsageParameters.model_fields),
    )
    async def own_usage(request: Request) -> Response:
        """Tell what the caller's keys used and cost, in all, by day and by model."""
        principal = people.principal(request, None)
        asked = read_query(request, UsageParameters, UsageParameters.model_fields)
        return json_response(await _usage(costs, keys, principal, asked, clock()), headers=PRIVATE)

    extra = path_of("{key_id}")

    @router.post(
        "/keys/{key_id}/rotate",
        response_model=NEW_KEY,
        responses=problems(*changes),
        openapi_extra=body_of(RotateKey, required=False) | extra,
    )
    async def rotate(request: Request) -> Response:
        """Give one of the caller's keys another secret, shown once; its id stays."""
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

    return router


async def _usage(
    costs: Costs, keys: OwnKeys, principal: Principal, asked: UsageParameters, now: datetime
) -> dict[str, Any]:
    """By the keys' ids: the user that a request names is whatever its client says."""
    text = AskedCosts(days=asked.days, time_zone=asked.time_zone, group_by="day,model")
    try:
        question = text.question(now, {"tenant": principal.tenant})
    except InvalidQuestionError as error:
        raise malformed(str(error), error.name) from error
    own = tuple(key.key_id for key in keys.of(principal, with_deleted=True))
    return await costs.read(replace(question, keys=own))


def _me(principal: Principal, state: ControlState, models: frozenset[str]) -> Me:
    key, tenant = state.keys.get(principal.key_id), state.tenants.get(principal.tenant)
    usable = sorted(name for name in models if not principal.models or name in principal.models)
    return Me(
        tenant=principal.tenant,
        tenant_name=tenant.name if tenant else "",
        user=principal.user,
        key_id=principal.key_id,
        key_name=principal.name,
        scopes=list(principal.scopes),
        models=[name for name in usable if _is_on(state, name)],
        expires_at=key.expires_at if key else None,
    )


def _is_on(state: ControlState, model: str) -> bool:
    known = state.models.get(model)
    return known is None or known.enabled or known.deleted_at is not None


async def _standing(spend: BudgetSpend, budgets: list[BudgetChanged]) -> list[dict[str, Any]]:
    """How budgets stand, by their ids; without what was spent while the store is away."""
    budgets.sort(key=lambda one: one.budget_id)
    try:
        return await spend.read(budgets)
    except StoreUnavailableError:
        unknown = dict.fromkeys(("spent_usd", "left_usd", "share", "period_start", "renews_at"))
        named = set(BudgetStanding.model_fields) - set(unknown)
        return [one.model_dump(mode="json", include=named) | unknown for one in budgets]


def _limits(principal: Principal, state: ControlState) -> OwnLimits:
    user = state.users.get(f"{principal.tenant}/{principal.user}")
    tenant = state.tenants.get(principal.tenant)
    return OwnLimits(
        key=principal.limits,
        user=user.limits if user else None,
        tenant=tenant.limits if tenant else None,
        models={
            name: model.limits
            for name, model in sorted(state.models.items())
            if model.limits is not None and model.deleted_at is None
        },
        requests_per_hour_by_risk=list(state.thresholds_of(principal.tenant).requests_per_hour),
        budgets=[],
    )


def _bounds(principal: Principal, budget: BudgetChanged) -> bool:
    """Whether a budget bounds what this caller spends."""
    if budget.tenant != principal.tenant or budget.deleted_at is not None:
        return False
    own = {
        "key": principal.key_id,
        "user": f"{principal.tenant}/{principal.user}",
        "tenant": principal.tenant,
    }
    return budget.subject.kind == "model" or own[budget.subject.kind] == budget.subject.id
