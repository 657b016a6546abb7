"""/api/security: what was found, of whom, whether it was right, and the thresholds that
follow.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.control.state import ControlState
from services.common.http.problems import malformed
from services.common.http.request_body import BodyLimits, read_json
from services.common.http.responses import json_response
from services.console.administration.administrators import Administrators
from services.console.administration.authorisation import tenant_asked
from services.console.administration.kinds import PRIVATE
from services.console.administration.query import read_query
from services.console.domain.cost_query import InvalidQueryError
from services.console.domain.cursors import InvalidCursorError
from services.console.routes.documentation import body_of, path_of, problems, query_of
from services.console.security.answers import (
    FindingFeedbackBody,
    FindingFeedbackTaken,
    FindingParameters,
    FindingsAnswer,
    SummaryAnswer,
    SummaryParameters,
    TimelineAnswer,
    TimelineParameters,
    TuningAnswer,
    TuningParameters,
)
from services.console.security.services import SecurityServices
from services.console.security.tuning import TuningRequest


def investigation_router(admins: Administrators, security: SecurityServices, limits: BodyLimits) -> APIRouter:
    """Findings."""
    router = APIRouter(prefix="/api/security", tags=["Security"])
    looks = problems(400, 401, 403, 429, 503)
    user_path, finding_path = "/users/{user:whole}/timeline", "/findings/{finding_id}/feedback"

    @router.get(
        "/summary",
        response_model=SummaryAnswer,
        responses=looks,
        openapi_extra=query_of(SummaryParameters, SummaryParameters.model_fields),
    )
    async def summary(request: Request) -> Response:
        """Tell in counts what was found; nobody's name. A platform administrator may ask
        for any tenant, or for all.
        """
        principal = admins.principal(request, Scope.READ)
        asked = read_query(request, SummaryParameters, SummaryParameters.model_fields)
        tenant = tenant_asked(principal, asked.tenant)
        found = await security.findings.summary(tenant, asked.window_hours)
        security.require_tenant(tenant, is_known=bool(found["requests"] or found["findings"]))
        return json_response(found, headers=PRIVATE)

    @router.get(
        "/findings",
        response_model=FindingsAnswer,
        responses=looks,
        openapi_extra=query_of(FindingParameters, FindingParameters.model_fields),
    )
    async def listed(request: Request) -> Response:
        """Tell findings, the newest first, with what an investigator needs."""
        principal = admins.principal(request)
        asked = read_query(request, FindingParameters, FindingParameters.model_fields)
        asked = asked.model_copy(update={"tenant": tenant_asked(principal, asked.tenant)})
        with _wrong_values():
            found = await security.findings.page(asked.query)
        security.require_tenant(asked.tenant, is_known=bool(found["data"] or asked.cursor))
        return json_response(found, headers=PRIVATE)

    @router.get(
        user_path,
        response_model=TimelineAnswer,
        responses=looks,
        openapi_extra=_both(
            path_of(user_path), query_of(TimelineParameters, TimelineParameters.model_fields)
        ),
    )
    async def timeline(request: Request) -> Response:
        """Tell what a user asked and what was found of it; who has nothing has no hours."""
        principal = admins.principal(request)
        asked = read_query(request, TimelineParameters, TimelineParameters.model_fields)
        tenant, user = tenant_asked(principal, asked.tenant), str(request.path_params["user"])
        with _wrong_values():
            found = await security.findings.timeline(tenant, user, asked.days)
        security.require_tenant(tenant, is_known=bool(found["hours"]))
        return json_response(found, headers=PRIVATE)

    @router.post(
        finding_path,
        status_code=201,
        response_model=FindingFeedbackTaken,
        responses=problems(400, 401, 403, 404, 408, 413, 415, 429, 503),
        openapi_extra={**body_of(FindingFeedbackBody), **path_of(finding_path)},
    )
    async def say(request: Request) -> Response:
        """Say whether a finding was right; of several statements the last counts."""
        admin = admins.administrator(request)
        body = await read_json(request, FindingFeedbackBody, limits)
        tenant = "" if admin.principal.is_platform_admin else admin.principal.tenant
        finding_id = str(request.path_params["finding_id"])
        taken = await security.feedback.submit(tenant, finding_id, body.verdict, admin.actor)
        told = FindingFeedbackTaken.model_validate(taken.model_dump())
        return json_response(told.model_dump(mode="json"), 201)

    @router.get(
        "/tuning",
        response_model=TuningAnswer,
        responses=looks,
        openapi_extra=query_of(TuningParameters, TuningParameters.model_fields),
    )
    async def tune(request: Request) -> Response:
        """Propose a threshold for a share of false alarms, from what people said of
        findings, and tell what traffic would have been with it. Nothing is set by this.
        """
        principal = admins.principal(request)
        asked = read_query(request, TuningParameters, TuningParameters.model_fields)
        tenant = tenant_asked(principal, asked.tenant) or principal.tenant
        present = security.thresholds(tenant)
        wanted = TuningRequest(asked.level, asked.target, asked.confidence, asked.days)
        advice = await security.tuning.advise(tenant, present, wanted)
        security.require_tenant(tenant, is_known=bool(advice["findings"]))
        return json_response(advice | _changes(security.control.state, tenant, advice), headers=PRIVATE)

    return router


def _changes(state: ControlState, tenant: str, advice: dict[str, Any]) -> dict[str, Any]:
    """The calls that set what is proposed, and those that take it back."""
    if advice["proposed"] is None:
        return {"apply": [], "revert": []}
    own, one = state.thresholds.get(tenant), f"/api/admin/thresholds/{tenant}"
    body = dict(advice["proposed"]["thresholds"])
    change = {"method": "PATCH", "path": one, "body": body}
    make = {"method": "POST", "path": "/api/admin/thresholds", "body": {"tenant": tenant, **body}}
    restore = {"method": "POST", "path": f"{one}/restore", "body": {}}
    delete = {"method": "DELETE", "path": one, "body": {}}
    back = {"method": "PATCH", "path": one, "body": dict(advice["present"]["thresholds"])}
    if own is None:
        return {"apply": [make], "revert": [delete]}
    if own.deleted_at is not None:
        return {"apply": [restore, change], "revert": [delete]}
    return {"apply": [change], "revert": [back]}


@contextlib.contextmanager
def _wrong_values() -> Iterator[None]:
    """Tells which value was wrong.

    Raises:
        ProblemError: 400.
    """
    try:
        yield
    except InvalidCursorError as error:
        raise malformed(f"{error}.", "cursor") from error
    except InvalidQueryError as error:
        raise malformed(f"{error.name}: {error}.", error.name) from error


def _both(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"parameters": [one for part in parts for one in part["parameters"]]}
