"""Who makes a call, by its Authorization header or its session's cookie."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope as ASGIScope

from schemas.control import Scope
from schemas.errors import ErrorCode
from services.common.clock import Clock
from services.common.control.principal import Principal
from services.common.errors import BusUnavailableError
from services.common.http.access_log import bind_log_fields
from services.common.http.authentication import Authenticator
from services.common.http.problems import (
    Problem,
    ProblemError,
    forbidden,
    malformed,
    unauthenticated,
    unavailable,
)
from services.common.process import metrics
from services.console.identity.log_outs import LogOuts
from services.console.identity.sessions import Session, SessionSigner
from services.console.settings import Settings

COOKIE = "tocsin_session"
CSRF_HEADER = "x-csrf-token"
_PRINCIPAL, _SHOWN = "tocsin.principal", "tocsin.key_shown"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may do what is asked. `session` is None for a bearer."""

    principal: Principal
    session: Session | None = None

    @property
    def tenant(self) -> str:
        """Whose data it may see."""
        return self.principal.tenant


class TokenWanted(Protocol):
    """What is asked of a token: None means all that the key gives."""

    @property
    def scopes(self) -> Sequence[Scope] | None:
        """What it shall give."""

    @property
    def expires_in_s(self) -> int | None:
        """How long it shall last."""


class Exchange(NamedTuple):
    """A token for a key."""

    token: str
    expires_in_s: int
    scopes: tuple[Scope, ...]


@dataclass
class Callers:
    """Lets callers in, and opens and ends sessions."""

    settings: Settings
    keys: Authenticator
    clock: Clock
    signer: SessionSigner
    log_outs: LogOuts
    new_session_id: Callable[[], str] = field(default=lambda: secrets.token_hex(16))

    def caller(self, request: Request, scope: Scope | None) -> Caller:
        """Who calls, if that is allowed `scope`, or with None anything. An Authorization
        header counts before a cookie.

        Raises:
            ProblemError: 401, 403, 429 or 503.
        """
        authorization = request.headers.get("authorization")
        found = (
            self._by_session(request, scope)
            if authorization is None
            else Caller(self.keys.caller(request, scope, now=self.clock()))
        )
        _note(request, found.principal)
        return found

    def open_session(self, request: Request, clear: str) -> Caller:
        """A new session for the owner of this key.

        Raises:
            ProblemError: 401, 403, 429 or 503.
        """
        request.scope[_SHOWN] = clear
        _require_same_site(request)
        now = self.clock()
        try:
            principal = self.keys.authenticate(
                f"Bearer {clear}",
                Scope.READ,
                now=now,
                address=lambda: self.keys.address_of(request),
                with_token=False,
            )
        except ProblemError as error:
            throttled = error.problem.status == 429
            metrics.CONSOLE_LOGINS.labels("throttled" if throttled else "refused").inc()
            raise
        metrics.CONSOLE_LOGINS.labels("opened").inc()
        _note(request, principal)
        began = int(now.timestamp())
        expires = began + int(min(self.settings.session_s, self.settings.session_longest_s))
        return Caller(principal, Session(self.new_session_id(), principal.key_id, began, expires))

    def exchange(self, request: Request, clear: str, wanted: TokenWanted) -> Exchange:
        """A short token for the owner of this key. One for a token there is not: it
        would last for ever.

        Raises:
            ProblemError: 401, 403, 429 or 503; 403 too where more is wanted than the key
                gives, 400 where it shall last longer than tokens do.
        """
        request.scope[_SHOWN] = clear
        now = self.clock()
        principal = self.keys.authenticate(
            f"Bearer {clear}",
            None,
            now=now,
            address=lambda: self.keys.address_of(request),
            with_token=False,
        )
        _note(request, principal)
        scopes = principal.scopes if wanted.scopes is None else tuple(wanted.scopes)
        if more := [scope for scope in scopes if scope not in principal.scopes]:
            raise forbidden(f"The API key itself lacks the scope {more[0].value!r}.")
        now_s = int(now.timestamp())
        longest_s = self.settings.token_longest_s
        lasts_s = wanted.expires_in_s or longest_s
        if lasts_s > longest_s:
            raise malformed(
                f"expires_in_s: {lasts_s} is longer than tokens last here: use 1 to {longest_s} "
                "(TOCSIN_TOKEN_LONGEST_S), or leave it out.",
                "expires_in_s",
            )
        token, until_s = self.keys.exchanged(
            clear, scopes, now_s=now_s, until_s=now_s + lasts_s, jti=self.new_session_id()
        )
        return Exchange(token, until_s - now_s, scopes)

    def renewed(self, session: Session) -> Session:
        """The session; where half of its time is over, with an end later by all of it, but
        never beyond `session_longest_s` from its beginning.
        """
        now_s = self.clock().timestamp()
        if session.expires_at - now_s > self.settings.session_s / 2:
            return session
        latest = session.began_at + self.settings.session_longest_s
        return replace(session, expires_at=int(min(now_s + self.settings.session_s, latest)))

    async def end_session(self, session: Session, *, tenant: str) -> None:
        """Logs a session out, at every console.

        Raises:
            ProblemError: 503, Kafka did not take it; the session is still good.
        """
        try:
            await self.log_outs.end(session, tenant=tenant)
        except BusUnavailableError as error:
            raise unavailable(
                "Whether the session has ended everywhere is not known. Log out again in a moment.",
                code=ErrorCode.BUS_UNAVAILABLE,
            ) from error

    def set_cookie(self, request: Request, response: Response, session: Session) -> None:
        """Has the browser keep a session.

        Raises:
            ProblemError: 401, its key is gone.
        """
        key = self.keys.find(session.key_id)
        if key is None:
            raise unauthenticated("The session's API key is gone.")
        response.set_cookie(
            COOKIE,
            self.signer.token(session, key),
            max_age=max(0, session.expires_at - int(self.clock().timestamp())),
            path="/",
            secure=self._is_secure(request),
            httponly=True,
            samesite="strict",
        )

    def clear_cookie(self, request: Request, response: Response) -> None:
        """Has the browser forget its session."""
        response.delete_cookie(
            COOKIE, path="/", secure=self._is_secure(request), httponly=True, samesite="strict"
        )

    def _by_session(self, request: Request, scope: Scope | None) -> Caller:
        now = self.clock()
        token = request.cookies.get(COOKIE)
        session = self.signer.read(token, self.keys.find, now.timestamp()) if token else None
        if session is not None and not self.log_outs.caught_up:
            raise unavailable("The console is starting. Try again.", code=ErrorCode.STARTING)
        if session is None or self.log_outs.has(session):
            raise unauthenticated(
                "Log in with POST /api/auth/session, or send 'Authorization: Bearer tsn_...'."
            )
        principal = self.keys.recheck(session.key_id, scope, now=now)
        if request.method not in _SAFE:
            _require_same_site(request)
            if not self.signer.is_csrf_token(session, request.headers.get(CSRF_HEADER, "")):
                raise ProblemError(
                    Problem(
                        403,
                        ErrorCode.CSRF_FAILED,
                        f"Send the session's csrf_token as {CSRF_HEADER} with calls that change something; "
                        "GET /api/auth/session tells it.",
                    )
                )
        return Caller(principal, session)

    def _is_secure(self, request: Request) -> bool:
        if self.settings.session_cookie != "auto":
            return self.settings.session_cookie == "secure"
        host = request.headers.get("x-forwarded-host") or request.headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        return name.lower() not in _LOOPBACK


def principal_of(scope: ASGIScope) -> Principal | None:
    """Who was let in for this request, if anybody was."""
    found: Principal | None = scope.get(_PRINCIPAL)
    return found


def key_shown_to(request: Request) -> str:
    """The API key that a request showed, good or not; empty where it showed none."""
    scheme, _, clear = request.headers.get("authorization", "").partition(" ")
    return str(request.scope.get(_SHOWN) or (clear.strip() if scheme.lower() == "bearer" else ""))


def _note(request: Request, principal: Principal) -> None:
    request.scope[_PRINCIPAL] = principal
    bind_log_fields(request.scope, tenant=principal.tenant, key_id=principal.key_id)


def _require_same_site(request: Request) -> None:
    """Refuses what a browser says that another site has it send."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise ProblemError(
            Problem(403, ErrorCode.CSRF_FAILED, "Another site may not do this in a session's name.")
        )
