"""Who makes a call, by its Authorization header or its session's cookie."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from schemas.errors import ErrorCode
from services.common.clock import Clock
from services.common.control.principal import Principal
from services.common.errors import BusUnavailableError
from services.common.http.access_log import bind_log_fields
from services.common.http.authentication import Authenticator, UnknownKeyError
from services.common.http.forwarding import Network, client_network, client_of
from services.common.http.problems import Problem, ProblemError, unauthenticated, unavailable
from services.common.process import metrics
from services.console.identity.log_outs import LogOuts
from services.console.identity.login_throttle import LoginThrottle
from services.console.identity.sessions import Session, SessionSigner
from services.console.settings import Settings

COOKIE = "tocsin_session"
CSRF_HEADER = "x-csrf-token"
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

    @property
    def is_admin(self) -> bool:
        """Whether it may see where things run."""
        return self.principal.is_admin


@dataclass
class Callers:
    """Lets callers in, and opens and ends sessions."""

    settings: Settings
    keys: Authenticator
    clock: Clock
    signer: SessionSigner
    log_outs: LogOuts
    throttle: LoginThrottle = field(default_factory=LoginThrottle)
    new_session_id: Callable[[], str] = field(default=lambda: secrets.token_hex(16))
    _trusted: tuple[Network, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._trusted = self.settings.proxy_networks

    def caller(self, request: Request, scope: Scope) -> Caller:
        """Who calls, if that is allowed `scope`. An Authorization header counts before
        a cookie.

        Raises:
            ProblemError: 401, 403, 429 or 503.
        """
        authorization = request.headers.get("authorization")
        found = (
            self._by_session(request, scope)
            if authorization is None
            else Caller(self._check(request, authorization, scope))
        )
        bind_log_fields(request.scope, tenant=found.principal.tenant, key_id=found.principal.key_id)
        return found

    def open_session(self, request: Request, clear: str) -> Caller:
        """A new session for the owner of this key.

        Raises:
            ProblemError: 401, 403, 429 or 503.
        """
        _require_same_site(request)
        now = self.clock()
        try:
            principal = self._check(request, f"Bearer {clear}", Scope.READ)
        except ProblemError as error:
            throttled = error.problem.status == 429
            metrics.CONSOLE_LOGINS.labels("throttled" if throttled else "refused").inc()
            raise
        metrics.CONSOLE_LOGINS.labels("opened").inc()
        bind_log_fields(request.scope, tenant=principal.tenant, key_id=principal.key_id)
        began = int(now.timestamp())
        expires = began + int(min(self.settings.session_s, self.settings.session_longest_s))
        return Caller(principal, Session(self.new_session_id(), principal.key_id, began, expires))

    def renewed(self, session: Session) -> Session:
        """The session, longer if half of its time is over."""
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

    def _check(self, request: Request, authorization: str, scope: Scope) -> Principal:
        """Whom an Authorization header stands for.

        A good key is let in whatever others at its address have tried: a forgotten
        script must not lock its neighbours out.

        Raises:
            ProblemError: 401, 403 or 503; 429 instead of 401 for a key that nobody
                knows, where too many came from there.
        """
        now = self.clock()
        try:
            return self.keys.authenticate(authorization, scope, now=now)
        except UnknownKeyError:
            client = client_network(client_of(request.scope, self._trusted))
            wait_s = self.throttle.wait_s(client, now.timestamp())
            self.throttle.failed(client, now.timestamp())
            if wait_s > 0:
                raise _too_many_failures(wait_s) from None
            raise

    def _by_session(self, request: Request, scope: Scope) -> Caller:
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


def _require_same_site(request: Request) -> None:
    """Refuses what a browser says that another site has it send."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise ProblemError(
            Problem(403, ErrorCode.CSRF_FAILED, "Another site may not do this in a session's name.")
        )


def _too_many_failures(wait_s: float) -> ProblemError:
    retry_after_s = int(wait_s) + 1
    return ProblemError(
        Problem(
            429,
            ErrorCode.RATE_LIMIT_EXCEEDED,
            "The API key is not known, and neither were many before it from this address: "
            f"wait {retry_after_s} s.",
            headers=(("retry-after", str(retry_after_s)),),
        )
    )
