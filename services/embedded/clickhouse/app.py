"""One HTTP request: who asks, is there room, what is asked, and the answer."""

import contextlib
import time
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from services.common.store.tenant_views import READER, TENANT_PARAMETER, TENANT_READER
from services.embedded.clickhouse.audit import AuditEntry, AuditLog
from services.embedded.clickhouse.engine.admission import Admission, AdmissionLimits
from services.embedded.clickhouse.engine.chdb_engine import Engine, EngineLimits
from services.embedded.clickhouse.engine.confinement import confine
from services.embedded.clickhouse.engine.workers import Workers
from services.embedded.clickhouse.errors import ClientGoneError, StoreError
from services.embedded.clickhouse.exchange import Exchange, Statement, read_statement
from services.embedded.clickhouse.execution import Execution
from services.embedded.clickhouse.http.request import Body, Receive, Request
from services.embedded.clickhouse.http.response import Response, Send
from services.embedded.clickhouse.sql.rights import DATABASE
from services.embedded.clickhouse.users import Role, User, Users

_log = structlog.get_logger(__name__)
_GREETINGS = ("/ping", "/replicas_status")
# TOCSIN_CLICKHOUSE_URL ends in the database, and may be used as it stands.
_HANDLES = ("/", f"/{DATABASE}", f"/{DATABASE}/")
_PREFLIGHT = [
    ("Access-Control-Allow-Origin", "*"),
    (
        "Access-Control-Allow-Headers",
        "origin, x-requested-with, x-clickhouse-format, x-clickhouse-user, x-clickhouse-key, Authorization",
    ),
    ("Access-Control-Allow-Methods", "POST, GET, OPTIONS"),
    ("Access-Control-Max-Age", "86400"),
]


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """All bounds of the store: memory and time of queries, how many at once, bytes of a
    statement, seconds that a client may keep a request waiting.
    """

    engine: EngineLimits = field(default_factory=EngineLimits)
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    statement_bytes: int = 256 << 10
    receive_idle_s: float = 60.0
    send_idle_s: float = 300.0


class EmbeddedStore:
    """The ASGI application over one data directory."""

    def __init__(self, folder: Path, users: Users, limits: StoreLimits) -> None:
        self._folder = folder
        self._users = users
        self._limits = limits
        self._engine = Engine(folder, limits.engine)
        self._admission = Admission(limits.admission)
        self._audit: AuditLog | None = None
        self._workers = Workers(self._engine, limits.admission.running)
        self._execution = Execution(self._engine, self._workers, limits.engine)
        self._running: set[str] = set()
        self._confinement = "none: not asked for"

    def prepare(self) -> None:
        """Makes the folders and files that the store needs."""
        self._engine.prepare()

    def confine(self) -> None:
        """Gives up every right that the store does not need, for the whole process."""
        self._confinement = confine(self._folder)
        log = _log.warning if self._confinement.startswith("none") else _log.info
        log("store_confinement", state=self._confinement)

    def open(self) -> None:
        """Starts the engine; raises what it raises, so that the process ends with the
        reason.

        Raises:
            StoreError: The directory cannot be opened, for one because another process
                has it.
        """
        self._audit = AuditLog(self._folder / "audit")
        self._engine.mend()
        self._engine.open()

    def close(self) -> None:
        """Waits for the threads and closes the engine; running queries have been
        cancelled by then.
        """
        self._workers.close()
        self._execution.end_sessions()
        self._engine.close()
        if self._audit is not None:
            self._audit.close()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI: HTTP only; the process opens and closes the store itself."""
        if scope["type"] != "http":
            return
        request = Request(method=scope["method"], path=scope["path"], headers={})
        response = self._response(request, send)
        body: Body | None = None
        try:
            request = Request.of_scope(scope)
            response = self._response(request, send)
            if await self._is_greeted(request, response, has_query=bool(scope["query_string"])):
                return
            body = Body(request, receive, idle_timeout_s=self._limits.receive_idle_s)
            await self._answer(request, body, response)
        except ClientGoneError:
            _log.info("client_gone", query_id=request.query_id)
        except StoreError as error:
            await self._fail(response, error, body)
        except Exception:  # noqa: BLE001 - the edge: logged, and the client hears of it
            _log.exception("request_failed", query_id=request.query_id)
            await self._fail(
                response, StoreError(1001, "STD_EXCEPTION", "The store failed; its log says why"), body
            )

    async def _is_greeted(self, request: Request, response: Response, *, has_query: bool) -> bool:
        """Answers what needs no credentials: health checks, a bare GET, a browser's
        question before a request from another origin.
        """
        if request.method == "OPTIONS":
            await response.plain(204, b"", _PREFLIGHT)
            return True
        bare = request.path in _HANDLES and not has_query
        if request.method in ("GET", "HEAD") and (bare or request.path in _GREETINGS):
            await response.plain(200, b"Ok.\n", [("X-Tocsin-Confinement", self._confinement)])
            return True
        return False

    def _response(self, request: Request, send: Send) -> Response:
        return Response(
            request,
            send,
            version=self._engine.version,
            timezone=self._engine.timezone,
            idle_timeout_s=self._limits.send_idle_s,
        )

    @staticmethod
    async def _fail(response: Response, error: StoreError, body: Body | None) -> None:
        with contextlib.suppress(ClientGoneError):
            await response.fail(error, close=body is not None and not body.received)

    async def _answer(self, request: Request, body: Body, response: Response) -> None:
        if request.path not in _HANDLES:
            raise StoreError(
                1000, "NOT_FOUND", f"There is no handle {request.path}. Use / or /ping for health checks."
            )
        user = self._authenticate(request)
        statement = Statement()
        reader = _narrowed(user, request)
        with self._audited(request, user, statement), self._only_one(request.query_id):
            async with self._admission.slot(reader.role):
                await read_statement(request, body, self._limits.statement_bytes, into=statement)
                if not statement.sql.strip():
                    await response.plain(200, b"Ok.\n")
                    return
                await self._execution.run(Exchange(request, body, response, reader, statement))

    def _authenticate(self, request: Request) -> User:
        name, password = request.credentials()
        user = self._users.authenticate(name, password)
        if user is None:
            _log.warning("authentication_failed", user=name[:64])
            raise StoreError(
                516,
                "AUTHENTICATION_FAILED",
                f"{name}: Authentication failed: password is incorrect, or there is no user with such name.",
            )
        return user

    @contextlib.contextmanager
    def _only_one(self, query_id: str) -> Iterator[None]:
        if query_id in self._running:
            raise StoreError(
                216,
                "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
                f"Query with id = {query_id} is already running.",
            )
        self._running.add(query_id)
        try:
            yield
        finally:
            self._running.discard(query_id)

    @contextlib.contextmanager
    def _audited(self, request: Request, user: User, statement: Statement) -> Iterator[None]:
        if user.role not in (Role.ANALYST, Role.TENANT_ANALYST) or self._audit is None:
            yield
            return
        start, error = time.perf_counter(), "not finished"
        try:
            yield
            error = ""
        except StoreError as refusal:
            error = f"{refusal.code} {refusal.name}"
            raise
        except ClientGoneError:
            error = "client gone"
            raise
        finally:
            self._audit.write(
                AuditEntry.of(
                    user=user.name,
                    query_id=request.query_id,
                    statement=statement.sql or request.statement(),
                    duration_ms=(time.perf_counter() - start) * 1e3,
                    rows_read=statement.progress.read_rows,
                    error=error,
                )
            )


def _narrowed(user: User, request: Request) -> User:
    """Who runs the statement: the user, or where a service asks for less (`role`), an
    analyst of all tenants, or of the one that `SQL_tenant` names.

    Raises:
        StoreError: It is no such role, the user may not take it, or no tenant is named.
    """
    wanted = request.interface.get("role", "")
    tenant = request.settings.pop(TENANT_PARAMETER, "").strip("'")
    if not wanted and not tenant:
        return user
    role = {READER: Role.ANALYST, TENANT_READER: Role.TENANT_ANALYST}.get(wanted)
    if role is None or user.role not in (Role.SERVICE, Role.ADMIN):
        raise StoreError(497, "ACCESS_DENIED", "Not enough privileges. Roles follow from the user")
    if bool(tenant) != (role is Role.TENANT_ANALYST):
        raise StoreError(
            36,
            "BAD_ARGUMENTS",
            f"{TENANT_PARAMETER} names a tenant with the role {TENANT_READER}, and no other",
        )
    return replace(user, role=role, tenant=tenant)
