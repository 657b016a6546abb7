"""/api/recommendations: what is recommended, why, and what people decide of it."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import ErrorCode
from services.common.http.problems import Problem, ProblemError
from services.common.http.request_body import BodyLimits, read_json
from services.common.http.responses import json_response
from services.console.administration.administrators import Administrators
from services.console.administration.authorisation import tenant_asked
from services.console.administration.kinds import PRIVATE
from services.console.administration.query import read_query
from services.console.domain.csv_text import csv_text
from services.console.feedback.recommendations.answers import (
    DecisionBody,
    DecisionTaken,
    RecommendationAnswer,
    RecommendationParameters,
    RecommendationsAnswer,
)
from services.console.feedback.recommendations.decisions import DECISIONS, DecisionService
from services.console.feedback.recommendations.reader import COLUMNS, Recommendations
from services.console.routes.documentation import body_of, path_of, problems, query_of

_ONE = "/{fingerprint}"
_NAMES = tuple(RecommendationParameters.model_fields)


def recommendations_router(
    admins: Administrators, found: Recommendations, decisions: DecisionService, limits: BodyLimits
) -> APIRouter:
    """Recommendations."""
    router = APIRouter(prefix="/api/recommendations", tags=["Recommendations"])
    looks = problems(400, 401, 403, 429, 503) | {200: {"content": {"text/csv": {}}}}

    @router.get(
        "",
        response_model=RecommendationsAnswer,
        responses=looks,
        openapi_extra=query_of(RecommendationParameters, _NAMES),
    )
    async def listed(request: Request) -> Response:
        """Tell what is recommended, the most pressing first, as JSON or, with `Accept:
        text/csv`, as CSV. A platform administrator sees the platform's and each tenant's.
        """
        principal = admins.principal(request)
        asked = read_query(request, RecommendationParameters, _NAMES)
        asked = asked.model_copy(update={"tenant": tenant_asked(principal, asked.tenant)})
        page = await found.page(asked.query)
        if "text/csv" in request.headers.get("accept", ""):
            rows = [{name: _cell(value) for name, value in row.items()} for row in page["data"]]
            return Response(csv_text(rows, COLUMNS), media_type="text/csv", headers=PRIVATE)
        return json_response(page, headers=PRIVATE)

    @router.get(
        _ONE,
        response_model=RecommendationAnswer,
        responses=problems(401, 403, 404, 429, 503),
        openapi_extra=path_of(_ONE),
    )
    async def one(request: Request) -> Response:
        """Tell one with the rows that it rests on, what was decided, and, once it was
        accepted, whether it helped.
        """
        principal = admins.principal(request)
        tenant = "" if principal.is_platform_admin else principal.tenant
        known = await found.one(tenant, str(request.path_params["fingerprint"]))
        if known is None:
            raise ProblemError(
                Problem(404, ErrorCode.NOT_FOUND, "There is no such recommendation.", "fingerprint")
            )
        return json_response(await found.whole(known), headers=PRIVATE)

    for verb in DECISIONS:
        _decision(router, verb, admins, decisions, limits)
    return router


def _decision(
    router: APIRouter, verb: str, admins: Administrators, decisions: DecisionService, limits: BodyLimits
) -> None:
    path = f"{_ONE}/{verb}"

    @router.post(
        path,
        status_code=201,
        name=verb,
        description=f"Say that it is {DECISIONS[verb]}, and why; of several decisions the last counts.",
        response_model=DecisionTaken,
        responses=problems(400, 401, 403, 404, 408, 413, 415, 429, 503),
        openapi_extra={**body_of(DecisionBody), **path_of(path)},
    )
    async def decide(request: Request) -> Response:
        admin = admins.administrator(request)
        body = await read_json(request, DecisionBody, limits)
        tenant = "" if admin.principal.is_platform_admin else admin.principal.tenant
        fingerprint = str(request.path_params["fingerprint"])
        taken = await decisions.decide(tenant, fingerprint, DECISIONS[verb], body.reason, admin.actor)
        told = DecisionTaken(
            fingerprint=taken.fingerprint,
            tenant=taken.tenant,
            state=taken.change.value,
            decided_by=taken.changed_by,
            decided_at=taken.changed_at,
            reason=taken.reason,
        )
        return json_response(told.model_dump(mode="json"), 201)


def _cell(value: Any) -> Any:
    """Lists and maps in one cell."""
    if isinstance(value, dict):
        return "; ".join(f"{name}={one}" for name, one in value.items())
    return "; ".join(map(str, value)) if isinstance(value, list) else value
