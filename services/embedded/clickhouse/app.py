"""One HTTP request: who asks, is there room, what is asked, and the answer."""

import contextlib
import time
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from services.embedded.clickhouse.admission import Admission, AdmissionLimits
from services.embedded.clickhouse.audit import AuditEntry, AuditLog
from services.embedded.clickhouse.engine import Engine, EngineLimits
from services.embedded.clickhouse.errors import ClientGoneError, StoreError
from services.embedded.clickhouse.execution import Exchange, Execution, Statement, read_statement
from services.embedded.clickhouse.request import Body, Receive, Request
from services.embedded.clickhouse.response import Response, Send
from services.embedded.clickhouse.users import Role, User, Users
from services.embedded.clickhouse.workers import Workers

_log = structlog.get_logger(__name__)
_GREETINGS = ("/ping", "/replicas_status")


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


class Store:
    """The ASGI application over one data directory."""

    def __init__(
        self,
        folder: Path,
        users: Users,
        limits: StoreLimits,
        *,
        audit_sink: Callable[[AuditEntry], None] | None = None,
    ) -> None:
        self._users = users
        self._limits = limits
        self._engine = Engine(folder, limits.engine)
        self._admission = Admission(limits.admission)
        self._audit = AuditLog(folder / "audit", sink=audit_sink)
        self._workers = Workers(self._engine, limits.admission.running)
        self._execution = Execution(
            self._engine,
            self._workers,
            analyst_query_max_s=limits.engine.analyst_query_max_s,
            result_bytes=limits.engine.result_bytes,
        )
        self._running: set[str] = set()

    def open(self) -> None:
        """Starts the engine; raises what it raises, so that the process ends with the
        reason.

        Raises:
            StoreError: The directory cannot be opened, for one because another process
                has it.
        """
        self._engine.open()

    def close(self) -> None:
        """Waits for the threads and closes the engine; running queries have been
        cancelled by then.
        """
        self._workers.close()
        self._execution.end_sessions()
        self._engine.close()
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
            if request.path in _GREETINGS:
                await response.plain(200, b"Ok.\n")
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
        if request.path != "/":
            raise StoreError(
                1000, "NOT_FOUND", f"There is no handle {request.path}. Use / or /ping for health checks."
            )
        user = self._authenticate(request)
        statement = Statement()
        with self._audited(request, user, statement), self._only_one(request.query_id):
            async with self._admission.slot(user.role):
                read = await read_statement(request, body, self._limits.statement_bytes)
                statement.sql, statement.insert, statement.first_data = read.sql, read.insert, read.first_data
                if not statement.sql.strip():
                    await response.plain(200, b"Ok.\n")
                    return
                await self._execution.run(Exchange(request, body, response, user, statement))

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
        if request.interface.get("role"):
            raise StoreError(497, "ACCESS_DENIED", "Not enough privileges. Roles follow from the user")
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
        if user.role is not Role.ANALYST:
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
