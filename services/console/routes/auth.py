"""/api/auth: logging in with an API key, and out; short tokens for API keys."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from services.common.http.request_body import BodyLimits, read_json
from services.common.http.responses import json_response
from services.console.identity.callers import Caller, Callers
from services.console.identity.sessions import Session
from services.console.routes.documentation import body_of, problems


class Login(BaseModel):
    """Who logs in."""

    key: str = Field(max_length=256, description="An API key with the scope `read`.")


class TokenRequest(BaseModel, extra="forbid"):
    """What a token shall be good for. A field that is not known is refused: a slip of
    the pen in `scopes` would give them all.
    """

    key: str | None = Field(
        None,
        max_length=256,
        description="The API key; left out, that of the Authorization header.",
    )
    scopes: list[Scope] | None = Field(
        None,
        min_length=1,
        max_length=16,
        description="Fewer scopes than the key has; left out, all of them.",
    )
    expires_in_s: int | None = Field(
        None,
        ge=1,
        description="Seconds that it lasts: at most, and if left out, TOCSIN_TOKEN_LONGEST_S (600).",
    )


class Token(BaseModel):
    """A token, as OAuth 2.0 answers with it (RFC 6749, section 5.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  a kind of token
    expires_in: int = Field(description="Seconds until it ends, or sooner with its key.")
    scope: str = Field(description="What it gives, separated by spaces.")


class OpenSession(BaseModel):
    """A session, or the key that a bearer has."""

    tenant: str
    user: str
    key_id: str
    key_name: str
    scopes: list[Scope]
    expires_at: datetime | None = Field(description="When the session ends if it is not renewed.")
    csrf_token: str | None = Field(
        description="To be sent as `x-csrf-token` with calls that change something in the session's name."
    )


def auth_router(callers: Callers, limits: BodyLimits) -> APIRouter:
    """Sessions."""
    router = APIRouter(prefix="/api/auth", tags=["Sessions"])

    def reader(request: Request) -> Caller:
        return callers.caller(request, Scope.READ)

    @router.post(
        "/session",
        response_model=OpenSession,
        openapi_extra=body_of(Login),
        responses=problems(400, 401, 403, 408, 413, 415, 429, 503),
    )
    async def log_in(request: Request) -> Response:
        """Open a session with an API key; it comes as an HttpOnly cookie."""
        given = await read_json(request, Login, limits)
        caller = callers.open_session(request, given.key.strip())
        assert caller.session is not None  # noqa: S101  open_session makes one
        return _answer(callers, request, caller, caller.session)

    @router.post(
        "/token",
        response_model=Token,
        openapi_extra=body_of(TokenRequest, required=False),
        responses=problems(400, 401, 403, 408, 413, 415, 429, 503),
    )
    async def exchange(request: Request) -> Response:
        """Exchange an API key for a short token (a JWT), which gateway and console
        accept as they do the key, and which ends with it.
        """
        wanted = await read_json(request, TokenRequest, limits, empty=TokenRequest())
        clear = wanted.key if wanted.key is not None else _bearer(request)
        made = callers.exchange(request, clear.strip(), wanted)
        scope = " ".join(made.scopes)
        token = Token(access_token=made.token, expires_in=made.expires_in_s, scope=scope)
        return json_response(token.model_dump(), headers={"cache-control": "no-store"})

    @router.get("/session", response_model=OpenSession, responses=problems(401, 403, 429, 503))
    async def show(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Response:
        """Tell who is logged in; renews a session of which half is over."""
        if caller.session is None:
            return json_response(_describe(callers, caller, None), headers={"cache-control": "no-store"})
        return _answer(callers, request, caller, callers.renewed(caller.session))

    @router.delete("/session", status_code=204, responses=problems(401, 403, 429, 503))
    async def log_out(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Response:
        """End the session, here and wherever its cookie was copied to."""
        if caller.session is not None:
            await callers.end_session(caller.session, tenant=caller.tenant)
        response = Response(status_code=204)
        callers.clear_cookie(request, response)
        return response

    return router


def _bearer(request: Request) -> str:
    scheme, _, clear = request.headers.get("authorization", "").partition(" ")
    return clear if scheme.lower() == "bearer" else ""


def _answer(callers: Callers, request: Request, caller: Caller, session: Session) -> Response:
    response = json_response(_describe(callers, caller, session), headers={"cache-control": "no-store"})
    callers.set_cookie(request, response, session)
    return response


def _describe(callers: Callers, caller: Caller, session: Session | None) -> dict[str, Any]:
    principal = caller.principal
    return OpenSession(
        tenant=principal.tenant,
        user=principal.user,
        key_id=principal.key_id,
        key_name=principal.name,
        scopes=list(principal.scopes),
        expires_at=datetime.fromtimestamp(session.expires_at, UTC) if session else None,
        csrf_token=callers.signer.csrf_token(session) if session else None,
    ).model_dump(mode="json")
