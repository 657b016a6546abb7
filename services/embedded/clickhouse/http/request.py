"""What a request asks for: its parameters, its credentials, and its body as it arrives."""

import asyncio
import base64
import binascii
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl

from services.embedded.clickhouse.errors import ClientGoneError, StoreError
from services.embedded.clickhouse.http.compression import BlockDecoder, Decoder, decoder

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# Parameters of the interface; every other one in the URL is a setting.
_INTERFACE = frozenset(
    {
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "query_id",
        "quota_key",
        "compress",
        "decompress",
        "wait_end_of_query",
        "buffer_size",
        "client_protocol_version",
        "role",
        "enable_http_compression",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "stacktrace",
        "add_http_cors_header",
        "http_write_exception_in_output_format",
    }
)
_LEAST_IN_TIME = 16 << 10
_QUERY_ID = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(slots=True)
class Request:
    """One HTTP request: the interface's parameters, settings, the statement's
    parameters, headers (lower case).
    """

    method: str
    path: str
    headers: dict[str, str]
    interface: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    query_id: str = ""

    @classmethod
    def of_scope(cls, scope: MutableMapping[str, Any]) -> "Request":
        """Reads the line and the headers of an ASGI request.

        Raises:
            StoreError: The query id has blanks or other signs that a header cannot
                carry.
        """
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        request = cls(method=scope["method"], path=scope["path"], headers=headers)
        for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
            request.add(name, value)
        for header, name in (
            ("x-clickhouse-database", "database"),
            ("x-clickhouse-format", "default_format"),
        ):
            if header in headers:
                request.interface.setdefault(name, headers[header])
        request.query_id = request.interface.get("query_id") or str(uuid.uuid4())
        if not _QUERY_ID.fullmatch(request.query_id):
            request.query_id = str(uuid.uuid4())
            raise StoreError(36, "BAD_ARGUMENTS", "query_id must be 1 to 200 visible ASCII characters")
        return request

    def add(self, name: str, value: str) -> None:
        """Takes a parameter of the URL or of a form to where it belongs."""
        if name.startswith("param_"):
            self.parameters[name.removeprefix("param_")] = value
        elif name in _INTERFACE:
            self.interface[name] = value
        else:
            self.settings[name] = value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Whether a parameter of the interface is on."""
        value = self.interface.get(name)
        return default if value is None else value.lower() in ("1", "true")

    def wants_cors(self) -> bool:
        """Whether a page of another origin asked to see the answer, as a server grants it."""
        return "origin" in self.headers and self.flag("add_http_cors_header")

    @property
    def protocol_version(self) -> int:
        """The client's revision, by which the Native format is written; 0 where none is
        given.

        Raises:
            StoreError: It is no number.
        """
        value = self.interface.get("client_protocol_version") or "0"
        if not re.fullmatch("[0-9]{1,9}", value):
            raise StoreError(36, "BAD_ARGUMENTS", f"client_protocol_version {value!r} is no number")
        return int(value)

    def credentials(self) -> tuple[str, str]:
        """The user's name and password, from the Authorization header, ClickHouse's own
        headers, or the URL.

        Raises:
            StoreError: The Authorization header cannot be read.
        """
        authorization = self.headers.get("authorization", "")
        if authorization.lower().startswith("basic "):
            try:
                name, _, password = base64.b64decode(authorization[6:], validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise StoreError(
                    516,
                    "AUTHENTICATION_FAILED",
                    "Authentication failed: the Authorization header cannot be read",
                ) from None
            return name, password
        if authorization:
            raise StoreError(
                516,
                "AUTHENTICATION_FAILED",
                "Authentication failed: only HTTP Basic, X-ClickHouse-User and -Key, or user and password "
                "are known",
            )
        name = self.headers.get("x-clickhouse-user") or self.interface.get("user") or "default"
        return name, self.headers.get("x-clickhouse-key") or self.interface.get("password") or ""

    def statement(self) -> bytes:
        """The part of the statement that came in the URL or form, with the newline that
        parts it from the body; empty when there is none.
        """
        query = self.interface.get("query", "").rstrip()
        return query.encode("utf-8", "surrogateescape") + b"\n" if query else b""

    def is_form(self) -> bool:
        """Whether the body is multipart: parameters and statement, not data."""
        return self.headers.get("content-type", "").lower().startswith("multipart/form-data")

    def read_form(self, body: bytes) -> None:
        """Takes the parameters and the statement out of a multipart body.

        Raises:
            StoreError: It is no form, or holds an external table, which the embedded
                store does not support.
        """
        header = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode("latin-1")
        form = BytesParser(policy=HTTP).parsebytes(header + body)
        if not form.is_multipart():
            raise StoreError(
                36, "BAD_ARGUMENTS", "the multipart body has no parts, or its boundary is missing"
            )
        for part in form.iter_parts():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if not isinstance(name, str) or not isinstance(content, bytes):
                raise StoreError(36, "BAD_ARGUMENTS", "a part of the multipart body has no name")
            if part.get_filename() is not None:
                raise StoreError(
                    48,
                    "NOT_IMPLEMENTED",
                    f"external table {name!r}: the embedded store does not support external tables",
                )
            if name == "role":
                raise StoreError(36, "BAD_ARGUMENTS", "send role in the URL")
            self.add(name, content.decode("utf-8", "surrogateescape"))


class Body:
    """The body of a request, decompressed, piece by piece, as it arrives."""

    def __init__(self, request: Request, receive: Receive, *, idle_timeout_s: float) -> None:
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        self._receive = receive
        self._idle_timeout_s = idle_timeout_s
        self._decoders: list[Decoder] = [] if encoding in ("", "identity") else [decoder(encoding)]
        if request.flag("decompress"):
            self._decoders.append(BlockDecoder())
        self._pieces = self._read()
        self._window: tuple[float, int] | None = None
        self.received = False

    async def next(self) -> bytes | None:
        """The next piece, at most about a mebibyte; None at the end.

        Raises:
            ClientGoneError: The client hung up before the end.
            StoreError: The data cannot be decompressed, or nothing came for too long.
        """
        return await anext(self._pieces, None)

    async def _read(self) -> AsyncIterator[bytes]:
        while not self.received:
            try:
                async with asyncio.timeout(self._idle_timeout_s):
                    message = await self._receive()
            except TimeoutError:
                raise StoreError(
                    209,
                    "SOCKET_TIMEOUT",
                    f"Timeout exceeded while reading the body: nothing came for {self._idle_timeout_s:g} s",
                ) from None
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            self._check_pace(len(message.get("body", b"")))
            self.received = not message.get("more_body", False)
            for piece in self._decoded(message.get("body", b""), self._decoders):
                yield piece
        for step in self._decoders:
            step.end()

    def _check_pace(self, size: int) -> None:
        """A body that drips holds a query's place: each window of the idle time brings
        at least 16 KiB, or the end.
        """
        now = asyncio.get_running_loop().time()
        since, got = self._window or (now, 0)
        got += size
        if now - since > self._idle_timeout_s:
            if got < _LEAST_IN_TIME:
                raise StoreError(
                    209,
                    "SOCKET_TIMEOUT",
                    f"Timeout exceeded while reading the body: {got} bytes in {now - since:.0f} s",
                )
            since, got = now, 0
        self._window = (since, got)

    def _decoded(self, data: bytes, steps: list[Decoder]) -> Iterator[bytes]:
        if not data:
            return
        if not steps:
            yield data
            return
        for piece in steps[0].feed(data):
            yield from self._decoded(piece, steps[1:])

    async def wait_for_departure(self) -> None:
        """Returns when the client hangs up; the body must have been read before."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def whole(self, limit: int) -> bytes:
        """All of it.

        Raises:
            StoreError: It is longer than `limit` bytes.
        """
        buffer = bytearray()
        while (piece := await self.next()) is not None:
            buffer += piece
            if len(buffer) > limit:
                raise too_long(limit)
        return bytes(buffer)


def too_long(limit: int) -> StoreError:
    """What a client hears whose statement is too long."""
    return StoreError(
        62,
        "SYNTAX_ERROR",
        f"Syntax error: the query is longer than {limit} bytes (max_query_size); send data as an INSERT's "
        "body",
    )
