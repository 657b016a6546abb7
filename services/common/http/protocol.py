"""One connection: uvicorn's HTTP/1.1 with what it leaves open.

An `Upgrade` that we do not offer is ignored, body and all (RFC 9110, section 7.8):
`curl --http2` and Java's HttpClient send `Upgrade: h2c` with every request. HTTP/1.0
gets no chunks. Heads, trailers and silence have limits.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import httptools
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from services.common.process import metrics

log = structlog.get_logger(__name__)

_NOT_FORWARDED = frozenset({b"upgrade", b"connection", b"http2-settings"})
_READ_STEP_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a connection may cost.

    `head_bytes` bounds a request's line and headers, and anything else that comes
    without being a body: trailers, chunk extensions. `head_timeout_s` is from the first
    byte to the head's end. A client that takes less than 64 KiB within
    `write_timeout_s` while more waits for it is cut off.
    """

    head_bytes: int = 64 * 1024
    head_timeout_s: float = 15.0
    write_timeout_s: float = 30.0


class HttpConfig(uvicorn.Config):
    """uvicorn's configuration for an application of ours.

    Further arguments are `uvicorn.Config`'s.
    """

    def __init__(self, app: Any, *, limits: HttpLimits | None = None, **further: Any) -> None:
        super().__init__(
            app,
            http=HttpProtocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            **further,
        )
        self.limits = limits or HttpLimits()


class HttpProtocol(HttpToolsProtocol):
    """A connection of a server that was configured by `HttpConfig`.

    `check` is called about once a second.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits if isinstance(config, HttpConfig) else HttpLimits()
        self._head_since: float | None = None
        """When the head began that is not complete; also set before the first."""
        self._quiet_bytes = 0
        """Bytes since the last piece of a body or end of a message."""
        self._upgrading = False
        self._refusal: tuple[int, str, str] | None = None
        self._stalled: tuple[float, int] | None = None
        """Since when the client takes nothing, and how much waited for it then."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock of the first head."""
        super().connection_made(transport)
        self._head_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        """Feeds the parser; what is beyond a limit is refused."""
        self._quiet_bytes += len(data)
        rest = memoryview(data)
        try:
            while not self._feed(rest):
                self.parser, offset = self._new_parser(), self._upgrade_offset
                head, self._upgrading = self._head_without_upgrade(), False
                self.parser.feed_data(head)
                rest = rest[offset:]
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (400, "invalid", "Invalid HTTP request received.")))
            return
        if self._quiet_bytes > self._limits.head_bytes:
            self._refuse(*self._too_large())

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._head_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """A head is complete: its request is served."""
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                self._stop_parsing(400, "invalid", "CONNECT is not served.")
            self._upgrading = True
            return
        if self._quiet_bytes > self._limits.head_bytes and self._head_bytes() > self._limits.head_bytes:
            self._stop_parsing(*self._too_large())
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self.headers):
            self._stop_parsing(501, "transfer_coding", "Of the transfer codings only 'chunked' is served.")
        self._head_since, self._quiet_bytes = None, 0
        super().on_headers_complete()
        self._unset_keepalive_if_required()
        if self.scope["http_version"] == "1.0":
            self.cycle.__class__ = _UnchunkedCycle
        self.headers = []  # trailers land here, not in the headers of a request that is being served

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._quiet_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has come in full."""
        if not self._upgrading:
            self._quiet_bytes = 0
            super().on_message_complete()

    def pause_writing(self) -> None:
        """The client lags behind."""
        super().pause_writing()
        self._stalled = (self.loop.time(), self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._stalled = None

    def check(self, now: float) -> None:
        """Cuts the connection if its client has kept it waiting for too long."""
        if self._has_stalled(now):
            self._count("slow_reader")
            self.transport.abort()
        elif (
            self._head_since is not None
            and now - self._head_since > self._limits.head_timeout_s
            and not self._busy
            and not self.transport.is_closing()
        ):
            if self._quiet_bytes:
                limit_s = self._limits.head_timeout_s
                self._refuse(408, "slow_head", f"The request's head did not come within {limit_s:g} s.")
            else:
                self.transport.close()

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_its_body(self) -> bool:
        """Whether what comes is the body of the request being served, and that has no
        part of an answer yet.
        """
        return self.cycle.more_body and not self.cycle.response_started and not self.pipeline

    def _has_stalled(self, now: float) -> bool:
        if self._stalled is None:
            if not self.transport.is_closing():
                return False
            self._stalled = (now, self.transport.get_write_buffer_size())
        since, size = self._stalled
        waiting = self.transport.get_write_buffer_size()
        if waiting <= size - _READ_STEP_BYTES:
            self._stalled = (now, waiting)
            return False
        return now - since > self._limits.write_timeout_s

    def _feed(self, data: memoryview) -> bool:
        """True when all was parsed; False where a head asks for an upgrade."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            self._upgrade_offset = int(pause.args[0])
            return False
        return True

    def _new_parser(self) -> Any:
        self._method, self._version = self.parser.get_method(), self.parser.get_http_version()
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _head_without_upgrade(self) -> bytes:
        """The head that was just parsed, as if it had not asked for an upgrade."""
        lines = [b"%b %b HTTP/%b" % (self._method, self.url, self._version.encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [token for token in value.split(b",") if token.strip().lower() not in _NOT_FORWARDED]
                value = b",".join(kept)  # noqa: PLW2901  the same header, less two tokens
            elif name in _NOT_FORWARDED:
                continue
            lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _too_large(self) -> tuple[int, str, str]:
        return 431, "large_head", f"The request's head is larger than {self._limits.head_bytes} bytes."

    def _stop_parsing(self, status: int, reason: str, message: str) -> None:
        self._refusal = (status, reason, message)
        raise httptools.HttpParserError(message)

    def _refuse(self, status: int, reason: str, message: str) -> None:
        """Answers and hangs up; while an answer is under way it only hangs up."""
        self._count(reason)
        if self._busy:
            if not self._is_its_body():
                self.transport.abort()
                return
            self.cycle.disconnected = True  # nobody hears what the application says from now on
            self.cycle.message_event.set()
        body = message.encode()
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % len(body) + body)
        self.transport.close()

    def _count(self, reason: str) -> None:
        metrics.HTTP_CUT.labels(reason).inc()
        log.warning("connection_cut", reason=reason, client=self.client[0] if self.client else "")


class _UnchunkedCycle(RequestResponseCycle):
    """An answer to HTTP/1.0: where its length is unknown, the connection's end is its
    end.
    """

    _unsized = False

    async def send(self, message: Any) -> None:
        """Sends one ASGI message."""
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            self._unsized = b"content-length" not in names
            if self._unsized:
                self.chunked_encoding = False
        elif self._unsized:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
