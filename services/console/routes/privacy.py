"""/api/privacy: what is known of a person, and its erasure."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import ErrorCode
from schemas.events.audit import Actor
from services.common.control.principal import Principal
from services.common.errors import BusUnavailableError
from services.common.http.problems import (
    Problem,
    ProblemError,
    forbidden,
    malformed,
    retry_after,
    unavailable,
)
from services.common.http.responses import ClosingResponse, json_response
from services.console.administration.administrators import Administrators
from services.console.administration.authorisation import not_found, require_still_good, tenant_asked
from services.console.administration.kinds import PRIVATE
from services.console.administration.query import read_query
from services.console.auditing.recorder import name_object
from services.console.privacy.receipts import signed
from services.console.privacy.service import (
    MOST_USER_CHARS,
    ErasureService,
    TooManyErasuresError,
    is_platforms,
    iso,
    newest_first,
)
from services.console.privacy.stored.export import SubjectExport
from services.console.privacy.subject import Subject, subject_of
from services.console.routes.documentation import path_of, problems, query_of

_MOST = 500
_SOON_S = 30


class _WholeName(PathConvertor):
    """A name that may have line breaks and slashes: whoever calls names users as they
    like. Starlette's own `path` ends before a line break.
    """

    regex = "(?s:.*)"


register_url_convertor("whole", _WholeName())


class EraseParameters(BaseModel, extra="forbid"):
    """Whose user, and the name once more."""

    tenant: str = Field("", max_length=200, description="Whose user; left out, the key's own tenant's.")
    confirm: str = Field(
        "", max_length=MOST_USER_CHARS, description="The user's name again: there is no way back."
    )


class SubjectParameters(BaseModel, extra="forbid"):
    """Whose user."""

    tenant: str = Field("", max_length=200, description="Whose user; left out, the key's own tenant's.")


class ReceiptsParameters(BaseModel, extra="forbid"):
    """Which receipts."""

    tenant: str = Field("", max_length=200, description="Of this tenant.")
    limit: int = Field(50, ge=1, le=_MOST, description="At most so many.")


class ErasureBegun(BaseModel):
    """An erasure that was begun, or is under way already."""

    id: str = Field(description="GET /api/privacy/receipts/{id} tells how far it came.")
    tenant: str
    state: str
    requested_at: str
    proof: str = Field(
        description="With it `tocsin privacy verify` shows whom the receipt is about. It is told here only."
    )


class ErasedIn(BaseModel):
    """A place that was looked through, over all rounds."""

    place: str
    found: int
    erased: int
    left: int
    why: str
    failed: str = Field(description="Why the present round could not be done there yet.")
    until: str | None


class BusCopies(BaseModel):
    """What a topic may still hold, and when it is gone at the latest."""

    topic: str
    holds: str
    gone_by: str


class Receipt(BaseModel):
    """What an erasure did: `requested`, `erased` (the bus may have copies) or `complete`."""

    format: str
    id: str
    tenant: str
    subject: str = Field(description="A digest of tenant and user under the proof.")
    state: str
    requested_at: str
    requested_by: str
    erased_up_to: str
    erased_at: str | None
    completed_at: str | None
    rounds: int
    next_round_at: str | None
    stores: list[ErasedIn]
    bus: list[BusCopies]
    bus_gone_by: str
    beyond: list[str]
    public_key: str = Field(description="Ed25519, in hexadecimal.")
    signature: str


class Receipts(BaseModel):
    """The newest first."""

    data: list[Receipt]


@dataclass(frozen=True)
class _Privacy:
    admins: Administrators
    service: ErasureService
    export: SubjectExport
    pepper: str

    async def erase(self, request: Request) -> Response:
        asked = read_query(request, EraseParameters, EraseParameters.model_fields)
        admin = self.admins.administrator(request)
        subject = self._subject(request, admin.principal, asked.tenant)
        require_still_good(admin.principal, self._state, self.service.clock())
        _require_lasting(admin.principal)
        _require_another(admin.principal, subject)
        if asked.confirm != subject.user:
            raise malformed("confirm: write the user's name here, too; there is no way back.", "confirm")
        erasure, proof = await self._begun(subject, admin.actor)
        body = {
            "id": erasure.erasure_id,
            "tenant": erasure.tenant,
            "state": erasure.state,
            "requested_at": iso(erasure.requested_at),
            "proof": proof,
        }
        place = {"location": f"/api/privacy/receipts/{erasure.erasure_id}"}
        return json_response(body, 202, {**PRIVATE, **place})

    async def tell(self, request: Request) -> Response:
        principal = self.admins.principal(request)
        found = self.service.log.known.get(str(request.path_params["receipt_id"]))
        if found is None or not (principal.is_platform_admin or found.tenant == principal.tenant):
            raise not_found("there is no such receipt")
        return json_response(signed(found, self.pepper), headers=PRIVATE)

    async def list(self, request: Request) -> Response:
        principal = self.admins.principal(request)
        asked = read_query(request, ReceiptsParameters, ReceiptsParameters.model_fields)
        tenant = tenant_asked(principal, asked.tenant)
        shown = newest_first(self.service.log.known.values(), tenant or None)[: asked.limit]
        return json_response({"data": [signed(one, self.pepper) for one in shown]}, headers=PRIVATE)

    async def tell_all(self, request: Request) -> Response:
        principal = self.admins.principal(request)
        asked = read_query(request, SubjectParameters, SubjectParameters.model_fields)
        subject = self._subject(request, principal, asked.tenant)
        name_object(request.scope, subject.pseudonyms[0])
        if not self.export.has_room:
            raise unavailable("Other exports are being written. Try again.", code=ErrorCode.OVERLOADED)
        pieces = self.export.pieces(self._state, subject, str(iso(self.service.clock())))
        first = [await anext(pieces) for _ in range(2)]  # a store that is away is told with a status

        async def body() -> AsyncIterator[bytes]:
            for piece in first:
                yield piece
            async for piece in pieces:
                yield piece

        headers = {**PRIVATE, "content-disposition": 'attachment; filename="export.json"'}
        return ClosingResponse(pieces, body(), headers, "application/json")

    async def _begun(self, subject: Subject, actor: Actor) -> Any:
        if not self.service.log.caught_up:
            raise unavailable("The erasures are being read. Try again.", code=ErrorCode.STARTING)
        try:
            return await self.service.request(self._state, subject.tenant, subject.user, actor)
        except TooManyErasuresError as error:
            problem = Problem(429, ErrorCode.RATE_LIMIT_EXCEEDED, str(error), headers=retry_after(_SOON_S))
            raise ProblemError(problem) from error
        except BusUnavailableError as error:
            raise unavailable(
                "The message bus did not take it in time. Ask again: it is begun once.",
                code=ErrorCode.BUS_UNAVAILABLE,
            ) from error

    def _subject(self, request: Request, principal: Principal, named: str) -> Subject:
        """The user that a path names.

        Raises:
            ProblemError: 403, it is another tenant's, or they administer the platform; 400,
                no user can be called so.
        """
        tenant = tenant_asked(principal, named) or principal.tenant
        user = str(request.path_params["user"])
        if not 0 < len(user) <= MOST_USER_CHARS:
            raise malformed(f"user: a user is called by 1 to {MOST_USER_CHARS} characters.", "user")
        if not principal.is_platform_admin and is_platforms(self._state, tenant, user):
            raise forbidden("They administer the platform, so only a platform administrator may do this.")
        return subject_of(self.service.identities.pseudonym_key, self._state, tenant, user)

    @property
    def _state(self) -> Any:
        return self.admins.callers.keys.control.state


def _require_lasting(principal: Principal) -> None:
    if principal.by_token:
        raise forbidden(
            "A token erases nobody: that would outlive it. Call with the API key itself, or in a session."
        )


def _require_another(principal: Principal, subject: Subject) -> None:
    """Nobody erases themself: what they did as an administrator would be DELETED's."""
    own = principal.tenant == subject.tenant and principal.user == subject.user
    if own or principal.key_id in subject.key_ids:
        raise ProblemError(
            Problem(
                403,
                ErrorCode.INSUFFICIENT_PERMISSIONS,
                "You cannot erase yourself: the audit would not tell who did it. Ask another administrator.",
            )
        )


def privacy_router(
    admins: Administrators, service: ErasureService, export: SubjectExport, pepper: str
) -> APIRouter:
    """Erasure, receipts, export."""
    router = APIRouter(prefix="/api/privacy", tags=["Privacy"])
    privacy = _Privacy(admins, service, export, pepper)
    at_user = path_of("{user:whole}")["parameters"]

    def with_query(model: type[BaseModel], parameters: list[Any]) -> dict[str, Any]:
        return {"parameters": [*parameters, *query_of(model, model.model_fields)["parameters"]]}

    router.add_api_route(
        "/subjects/{user:whole}/export",
        privacy.tell_all,
        methods=["GET"],
        operation_id="export_subject",
        summary="Tell all that is known of a user, as a file",
        response_model=None,
        responses=problems(400, 401, 403, 404, 429, 503) | {200: {"content": {"application/json": {}}}},
        openapi_extra=with_query(SubjectParameters, at_user),
    )
    router.add_api_route(
        "/subjects/{user:whole}",
        privacy.erase,
        methods=["DELETE"],
        operation_id="erase_subject",
        summary="Erase all that is known of a user, for good",
        response_model=ErasureBegun,
        status_code=202,
        responses=problems(400, 401, 403, 404, 429, 503),
        openapi_extra=with_query(EraseParameters, at_user),
    )
    router.add_api_route(
        "/receipts",
        privacy.list,
        methods=["GET"],
        operation_id="list_receipts",
        summary="List erasures, the newest first",
        response_model=Receipts,
        responses=problems(400, 401, 403, 429, 503),
        openapi_extra=query_of(ReceiptsParameters, ReceiptsParameters.model_fields),
    )
    router.add_api_route(
        "/receipts/{receipt_id}",
        privacy.tell,
        methods=["GET"],
        operation_id="get_receipt",
        summary="Tell what an erasure did, signed",
        response_model=Receipt,
        responses=problems(401, 403, 404, 429, 503),
        openapi_extra=path_of("{receipt_id}"),
    )
    return router
