"""/health (is the process alive), /ready (can it do its work, dependency by
dependency), /metrics.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.common.http.protocol import HttpConfig
from services.common.http.server import EmbeddedServer

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass
class Dependency:
    """One thing a service needs, as it last saw it."""

    ok: bool = False
    detail: str = "not tried yet"


class Reporter(Protocol):
    """Who is told of a dependency's state: `HealthState`, or a part of one."""

    def report(self, name: str, *, ok: bool, detail: str = "") -> None:
        """Notes a dependency's state."""


@dataclass
class HealthState:
    """What a service says of itself.

    `extra` are further GET paths with what they answer, as JSON.
    """

    started: bool = False
    draining: bool = False
    dependencies: dict[str, Dependency] = field(default_factory=dict)
    extra: dict[str, Callable[[], Any]] = field(default_factory=dict)

    def report(self, name: str, *, ok: bool, detail: str = "") -> None:
        """Notes a dependency's state."""
        self.dependencies[name] = Dependency(ok, detail or ("ok" if ok else "failed"))

    def of(self, role: str) -> Reporter:
        """Where one of several roles in this process reports: each name is told as
        `role.name`, so that one role's store does not hide another's.
        """
        return _RoleReporter(self, role)

    @property
    def ready(self) -> bool:
        """True when the service can do its work now."""
        return self.started and not self.draining and all(one.ok for one in self.dependencies.values())

    def describe(self) -> dict[str, Any]:
        """The body of /ready."""
        return {
            "ready": self.ready,
            "started": self.started,
            "draining": self.draining,
            "dependencies": {
                name: {"ok": one.ok, "detail": one.detail} for name, one in self.dependencies.items()
            },
        }

    def answer(self, path: str) -> tuple[int, str, bytes] | None:
        """Status, content type and body for a health path; None for any other."""
        if path == "/health":
            return 200, "application/json", b'{"status":"alive"}'
        if path == "/ready":
            return (200 if self.ready else 503), "application/json", orjson.dumps(self.describe())
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest()
        if path in self.extra:
            return 200, "application/json", orjson.dumps(self.extra[path]())
        return None


@dataclass(frozen=True)
class _RoleReporter:
    state: HealthState
    role: str

    def report(self, name: str, *, ok: bool, detail: str = "") -> None:
        self.state.report(f"{self.role}.{name}", ok=ok, detail=detail)


class HealthServer:
    """Serves a `HealthState` over HTTP on a port of its own; port 0 serves nothing."""

    def __init__(self, state: HealthState, host: str, port: int) -> None:
        self._state = state
        self._port = port
        self._server = EmbeddedServer(
            HttpConfig(self._app, host=host, port=port, timeout_graceful_shutdown=2)
        )

    async def start(self) -> None:
        """Listens."""
        if self._port:
            await self._server.start()

    async def close(self) -> None:
        """Stops listening."""
        if self._port:
            await self._server.close()

    async def _app(self, scope: Scope, _receive: Receive, send: Send) -> None:
        status, content_type, body = self._answer(scope["method"], scope["path"])
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", content_type.encode()),
                    (b"content-length", str(len(body)).encode()),
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})

    def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if method not in ("GET", "HEAD"):
            return 405, "application/json", b'{"error":"only GET and HEAD are served here"}'
        return self._state.answer(path) or (404, "application/json", b'{"error":"not found"}')
