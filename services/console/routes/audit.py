"""/api/admin/audit: who did what."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field, field_validator
from starlette.requests import Request
from starlette.responses import Response

from services.common.control.changes import VERBS
from services.common.control.state import KINDS
from services.common.http.problems import malformed
from services.common.http.responses import json_response
from services.console.administration.administrators import Administrators
from services.console.administration.authorisation import tenant_asked
from services.console.administration.kinds import PRIVATE
from services.console.administration.query import read_query
from services.console.auditing.acts import LOOKS
from services.console.domain.cursors import InvalidCursorError
from services.console.domain.moments import EARLIEST, LATEST
from services.console.read_models.rows.audit_trail import AuditQuery, AuditTrail
from services.console.routes.documentation import problems, query_of

_Text = Annotated[str, Field(max_length=200)]
_Moment = Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)]


class AuditParameters(BaseModel, extra="forbid"):
    """Which entries."""

    limit: int = Field(50, ge=1, le=500, description="At most so many.")
    cursor: str = Field("", max_length=400, description="`next_cursor` of the page before.")
    tenant: _Text = Field("", description="Of this tenant; a tenant's administrator sees their own only.")
    action: _Text = Field("", description="Such as key.created.")
    object_kind: _Text = Field("", description="Such as key.")
    object_id: _Text = Field("", description="The entry's id.")
    actor_id: _Text = Field("", description="A key's id, a user's pseudonym or an operator's name.")
    since: _Moment | None = Field(None, description="A time with its offset.")
    until: _Moment | None = Field(None, description="The same; it does not count itself.")

    @field_validator("action")
    @classmethod
    def _can_be(cls, action: str) -> str:
        """Of entries there is only what is done to them, and looks."""
        kind, dot, verb = action.partition(".")
        if action and not (dot and kind and (verb in (*VERBS, *LOOKS) or kind not in KINDS)):
            raise ValueError(
                "there is no such action; use an object and a verb, such as key.created; of "
                f"{', '.join(KINDS)} there are {', '.join((*VERBS, *LOOKS))}"
            )
        return action

    @property
    def query(self) -> AuditQuery:
        """The entries that are meant."""
        named = self.model_dump(include={"tenant", "action", "object_kind", "object_id", "actor_id"})
        only = {name: value for name, value in named.items() if value}
        return AuditQuery(only, self.since, self.until, self.cursor, self.limit)


class AuditRecord(BaseModel):
    """One act. What was erased is `DELETED`."""

    entry_id: str
    occurred_at: datetime
    tenant: str
    actor_kind: str
    actor_id: str
    address: str = Field(description="The network it came from.")
    action: str
    outcome: str
    object_kind: str
    object_id: str
    reason: str
    request_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditAnswer(BaseModel):
    """A page, the newest first."""

    data: list[AuditRecord]
    next_cursor: str | None


def audit_router(admins: Administrators, trail: AuditTrail) -> APIRouter:
    """The audit."""
    router = APIRouter(prefix="/api/admin", tags=["Administration"])

    @router.get(
        "/audit",
        response_model=AuditAnswer,
        responses=problems(400, 401, 403, 429, 503),
        openapi_extra=query_of(AuditParameters, AuditParameters.model_fields),
    )
    async def audit(request: Request) -> Response:
        """Tell who did what, the newest first; a tenant's administrator what was done to
        their own tenant's.
        """
        principal = admins.principal(request)
        asked = read_query(request, AuditParameters, AuditParameters.model_fields)
        asked = asked.model_copy(update={"tenant": tenant_asked(principal, asked.tenant)})
        try:
            return json_response(await trail.read(asked.query), headers=PRIVATE)
        except InvalidCursorError as error:
            raise malformed(f"{error}.", "cursor") from error

    return router
