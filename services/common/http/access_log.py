"""The outermost layer: each request gets an id, a clock, a line in the log and a place
in the metrics; no exception gets past it.
"""

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

import structlog
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

_ANSWER_HEADERS = "tocsin.answer_headers"
_QUIET = frozenset({"/health", "/ready", "/metrics"})


class AccessLogMiddleware:
    """Pure ASGI around the application.

    `on_crash` gives the answer for a path where the application gave none. `requests`
    counts by route and status, `seconds` by route.
    """

    def __init__(
        self, app: ASGIApp, on_crash: Callable[[str], ASGIApp], *, requests: Counter, seconds: Histogram
    ) -> None:
        self._app = app
        self._on_crash = on_crash
        self._requests = requests
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        noted: dict[str, Any] = {"request_id": "", "status": 0}
        scope["tocsin"] = noted

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                noted["status"] = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    *scope.get(_ANSWER_HEADERS, ()),
                    *_marks(scope, began),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except Exception:
            log.exception("request_failed", path=scope["path"], request_id=noted["request_id"])
            if not noted["status"]:
                await self._on_crash(scope["path"])(scope, receive, send_marked)
        finally:
            self._record(scope, noted, time.perf_counter() - began)

    def _record(self, scope: Scope, noted: dict[str, Any], seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        _counter(self._requests, route, noted["status"]).inc()
        _histogram(self._seconds, route).observe(seconds)
        if scope["path"] not in _QUIET:
            # Who passed it on says it where that failed; else one line a request is enough.
            passed_on = "logged_by" in noted and noted["status"] < 500
            tell = log.debug if passed_on else log.info
            tell(
                "request_served",
                method=scope["method"],
                route=route,
                duration_ms=round(seconds * 1000, 2),
                **noted,
            )


def bind_log_fields(scope: Scope, **fields: Any) -> None:
    """Adds fields to the request's line in the log.

    `request_id` becomes its x-request-id. `logged_by` names who has a line of its own
    for this request: ours is then for debugging, unless it failed.
    """
    scope["tocsin"].update(fields)


def bind_answer_headers(scope: Scope, headers: Iterable[tuple[str, str]]) -> None:
    """Adds headers to the request's answer, whatever that turns out to be."""
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if encoded:
        scope.setdefault(_ANSWER_HEADERS, []).extend(encoded)


def request_id_of(scope: Scope) -> str:
    """The request's x-request-id, which is given to it now if it has none yet."""
    noted: dict[str, Any] = scope["tocsin"]
    noted["request_id"] = noted["request_id"] or f"req-{uuid4().hex}"
    return str(noted["request_id"])


def _marks(scope: Scope, began: float) -> list[tuple[bytes, bytes]]:
    elapsed_ms = int((time.perf_counter() - began) * 1000)
    return [(b"x-request-id", request_id_of(scope).encode()), (b"openai-processing-ms", b"%d" % elapsed_ms)]


@functools.lru_cache(maxsize=512)
def _counter(requests: Counter, route: str, status: int) -> Counter:
    return requests.labels(route, status)


@functools.lru_cache(maxsize=64)
def _histogram(seconds: Histogram, route: str) -> Histogram:
    return seconds.labels(route)
