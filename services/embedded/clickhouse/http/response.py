"""What is sent back: status and headers as ClickHouse's, compression, and errors before
and in the middle of a stream.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from services.embedded.clickhouse.errors import ClientGoneError, StoreError
from services.embedded.clickhouse.http.compression import BlockEncoder, Encoder, choose_encoding, encoder
from services.embedded.clickhouse.http.formats import PLAIN, content_type
from services.embedded.clickhouse.http.request import Request

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Response:
    """One answer. `start` once, then `write`, then `finish`; or `fail` at any point."""

    def __init__(
        self, request: Request, send: Send, *, version: str, timezone: str, idle_timeout_s: float
    ) -> None:
        self._request = request
        self._send = send
        self._version = version
        self._timezone = timezone
        self._idle_timeout_s = idle_timeout_s
        self._tag = secrets.token_hex(8)
        self._encoders: list[Encoder] | None = None
        self.started = False

    async def start(self, *, output_format: str | None, summary: dict[str, str]) -> None:
        """Sends status 200 and the headers.

        `output_format` is that of the result, None when the statement has none.
        """
        headers = self._headers(content_type(output_format) if output_format else PLAIN)
        headers.append(("X-ClickHouse-Summary", json.dumps(summary)))
        headers.append(("X-ClickHouse-Exception-Tag", self._tag))
        if output_format:
            headers.append(("X-ClickHouse-Format", output_format))
        encoding = self._encoding()
        if encoding:
            headers.append(("Content-Encoding", encoding))
        self.started = True
        await self._emit({"type": "http.response.start", "status": 200, "headers": _encoded(headers)})

    def encode(self, data: bytes) -> bytes:
        """Compresses a piece; CPU work, for a worker thread."""
        for step in self._steps():
            data = step.feed(data)
        return data

    def _steps(self) -> list[Encoder]:
        if self._encoders is None:
            encoding = self._encoding()
            self._encoders = [
                *([BlockEncoder()] if self._request.flag("compress") else []),
                *([encoder(encoding)] if encoding else []),
            ]
        return self._encoders

    def _encoding(self) -> str | None:
        wanted = self._request.flag("enable_http_compression", default=True)
        return choose_encoding(self._request.headers.get("accept-encoding", "")) if wanted else None

    async def write(self, encoded: bytes) -> None:
        """Sends a piece that `encode` gave."""
        if encoded:
            await self._emit({"type": "http.response.body", "body": encoded, "more_body": True})

    async def finish(self) -> None:
        """Ends the answer."""
        await self._emit({"type": "http.response.body", "body": self._rest(), "more_body": False})

    def _rest(self) -> bytes:
        rest = b""
        for step in self._steps():
            rest = step.feed(rest) + step.end() if rest else step.end()
        return rest

    async def fail(self, error: StoreError, *, close: bool = False) -> None:
        """Tells the client of a failure: as a status, or, when the result has begun, as
        the exception block that servers since 25.11 append.

        In the second case the answer is left without its end, which breaks the
        connection: no client takes the part for the whole.
        """
        text = error.text(self._version).encode("utf-8", "replace")
        if self.started:
            await self.write(self.encode(self._exception_block(text)) + self._rest())
            return
        headers = self._headers(PLAIN)
        headers.append(("X-ClickHouse-Exception-Code", str(error.code)))
        if error.status == 401:
            headers.append(("WWW-Authenticate", 'Basic realm="ClickHouse server HTTP API"'))
        if close:
            headers.append(("Connection", "close"))
        self.started = True
        await self._whole(error.status, headers, text)

    def _exception_block(self, text: bytes) -> bytes:
        tag = self._tag.encode()
        return (
            b"\r\n__exception__\r\n"
            + tag
            + b"\r\n"
            + text
            + str(len(text)).encode()
            + b" "
            + tag
            + b"\r\n__exception__\r\n"
        )

    async def plain(self, status: int, text: bytes, headers: Iterable[tuple[str, str]] = ()) -> None:
        """An answer of one line that is no result."""
        self.started = True
        await self._whole(status, [*self._headers(PLAIN), *headers], text)

    async def _whole(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if status != 204:  # which has no body by itself
            headers.append(("Content-Length", str(len(body))))
        await self._emit({"type": "http.response.start", "status": status, "headers": _encoded(headers)})
        await self._emit(
            {"type": "http.response.body", "body": b"" if self._request.method == "HEAD" else body}
        )

    def _headers(self, kind: str) -> list[tuple[str, str]]:
        return [
            ("Content-Type", kind),
            ("X-ClickHouse-Server-Display-Name", "tocsin-store"),
            ("X-ClickHouse-Query-Id", self._request.query_id),
            ("X-ClickHouse-Timezone", self._timezone),
            *([("Access-Control-Allow-Origin", "*")] if self._request.wants_cors() else []),
        ]

    async def _emit(self, message: MutableMapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._idle_timeout_s):
                await self._send(message)
        except TimeoutError:
            raise ClientGoneError from None


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
