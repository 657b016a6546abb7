"""Every server of ours on a real socket, asked by what real clients and attackers send."""

import asyncio
import contextlib
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.common.http.protocol import HttpConfig, HttpLimits
from services.common.http.server import EmbeddedServer
from services.common.process.health import HealthServer, HealthState

LIMITS = HttpLimits(head_bytes=8192, head_timeout_s=0.5, write_timeout_s=0.5)
SLOW = 15.0
JAVA = """
import java.net.URI;
import java.net.http.*;
public class Ask {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        for (int at = 0; at < 2; at++) {
            var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .POST(HttpRequest.BodyPublishers.ofString("hello from Java")).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.version() + " " + answer.statusCode() + " " + answer.body());
        }
    }
}
"""


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with method, path, headers and body; without a length for `/unsized`, and
    without an end for `/endless`.
    """
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    answer = orjson.dumps(
        {
            "method": scope["method"],
            "path": scope["path"],
            "body": body.decode(),
            "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
        }
    )
    sized = [] if scope["path"] == "/unsized" else [(b"content-length", b"%d" % len(answer))]
    if scope["path"] == "/endless":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        listening = asyncio.create_task(receive())
        while not listening.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0)
        return
    await send({"type": "http.response.start", "status": 200, "headers": sized})
    await send({"type": "http.response.body", "body": answer[:10], "more_body": True})
    await send({"type": "http.response.body", "body": answer[10:]})


@contextlib.asynccontextmanager
async def serving(**more: Any) -> AsyncIterator[EmbeddedServer]:
    """A server of `echo`."""
    server = EmbeddedServer(
        HttpConfig(echo, limits=LIMITS, **({"port": 0, "timeout_graceful_shutdown": 1} | more))
    )
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    """A server of `echo`, with narrow limits."""
    async with serving() as running:
        yield running


async def exchange(server: EmbeddedServer, *parts: bytes, half_close: bool = True) -> bytes:
    """Everything that the server says to these bytes, sent one part after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)  # so that the parts arrive as parts
        if half_close:
            writer.write_eof()
        async with asyncio.timeout(SLOW):
            return await reader.read()
    finally:
        writer.close()


def bodies(answer: bytes) -> list[dict[str, Any]]:
    """The bodies of the answers in a connection's bytes, none of them chunked."""
    return [orjson.loads(part.partition(b"\r\n\r\n")[2]) for part in answer.split(b"HTTP/1.1 200")[1:]]


async def run(*command: str) -> str:
    """What a program prints."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return output.decode()


def needs(program: str) -> Any:
    """Skips where a program is not installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n"
REQUEST = b"POST /a HTTP/1.1\r\nHost: x\r\n%bContent-Length: 5\r\nConnection: close\r\n\r\nhello"


@pytest.mark.parametrize("cut", [[], [60], [190, 191], [*range(10, 450, 7)]], ids=lambda cut: str(len(cut)))
@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
async def test_upgrade_that_is_not_offered_is_ignored_with_its_body(
    server: EmbeddedServer, cut: list[int], protocol: bytes
) -> None:
    """The body arrives, however the bytes are cut, and the connection goes on."""
    upgrade = UPGRADE.replace(b"h2c", protocol)
    first = b"POST /first HTTP/1.1\r\nHost: x\r\n" + upgrade + b"Content-Length: 5\r\n\r\nhello"
    chunked = (
        b"POST /second HTTP/1.1\r\nHost: x\r\n" + upgrade + b"Transfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    data = first + chunked + REQUEST % b""
    edges = [0, *cut, len(data)]
    answer = await exchange(server, *(data[a:b] for a, b in itertools.pairwise(edges)))
    assert [(one["path"], one["body"]) for one in bodies(answer)] == [
        ("/first", "hello"),
        ("/second", "abcde"),
        ("/a", "hello"),
    ]
    assert not {"upgrade", "http2-settings"} & {name for name, _ in bodies(answer)[0]["headers"]}


async def test_upgrade_keeps_what_else_connection_says(server: EmbeddedServer) -> None:
    """`close` beside `Upgrade` still closes."""
    asked = b"GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n"
    answer = await exchange(server, asked, half_close=False)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer


async def test_connect_is_refused(server: EmbeddedServer) -> None:
    """CONNECT asks for an upgrade of another kind and gets 400."""
    assert (await exchange(server, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")).startswith(b"HTTP/1.1 400")


MALFORMED_BODIES = [
    b"zz\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"-1\r\n\r\n",
    b"10000000000000000\r\n",
]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("body", MALFORMED_BODIES)
async def test_malformed_chunk_is_400(server: EmbeddedServer, body: bytes, *, together: bool) -> None:
    """The client is told, whether the application was called already or not."""
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await exchange(server, *([head + body] if together else [head, body]))
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in answer


async def test_malformed_request_behind_one_under_way_ends_the_connection_only(
    server: EmbeddedServer,
) -> None:
    """What is not the body of the request being served is not answered in its place."""
    answer = await exchange(server, b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n", b"nonsense\r\n\r\n")
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "coding", [b"gzip, chunked", b"gzip,chunked", b"identity, chunked", b"x\r\nTransfer-Encoding: chunked"]
)
async def test_transfer_coding_that_is_not_served_is_501(server: EmbeddedServer, coding: bytes) -> None:
    """The body would be taken for what it is not (RFC 9112, section 6.1)."""
    answer = await exchange(
        server,
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + coding + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    assert answer.startswith((b"HTTP/1.1 501", b"HTTP/1.1 400"))
    assert b"HTTP/1.1 200" not in answer


@needs("curl")
async def test_curl_http2_gets_its_answer(server: EmbeddedServer) -> None:
    """`curl --http2` is answered over HTTP/1.1, with and without a body."""
    url = f"http://127.0.0.1:{server.port}/a"
    written = await run("curl", "-sS", "--http2", "-d", "hello", "-w", "\n%{http_version}", url)
    read = await run("curl", "-sS", "--http2", "-w", "\n%{http_version}", url)
    assert (orjson.loads(written.split("\n")[0])["body"], written.split("\n")[1]) == ("hello", "1.1")
    assert (orjson.loads(read.split("\n")[0])["method"], read.split("\n")[1]) == ("GET", "1.1")


@needs("java")
async def test_java_http_client_gets_its_answer(server: EmbeddedServer, tmp_path: Path) -> None:
    """Java's HttpClient, which always asks for h2c, is answered twice on a connection."""
    source = tmp_path / "Ask.java"
    source.write_text(JAVA)
    output = await run("java", str(source), f"http://127.0.0.1:{server.port}/a")
    assert output.count('HTTP_1_1 200 {"method":"POST","path":"/a","body":"hello from Java"') == 2


@pytest.mark.parametrize(("path", "sized"), [("/a", True), ("/unsized", False)])
async def test_http_1_0_is_answered_unchunked(server: EmbeddedServer, path: str, *, sized: bool) -> None:
    """An answer without a length ends with the connection."""
    answer = await exchange(server, f"GET {path} HTTP/1.0\r\n\r\n".encode(), half_close=False)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert (b"content-length" in head) is sized
    assert orjson.loads(body)["path"] == path


async def test_http_1_1_without_a_length_is_chunked(server: EmbeddedServer) -> None:
    """The rule for HTTP/1.0 does not touch HTTP/1.1."""
    answer = await exchange(server, b"GET /unsized HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"transfer-encoding: chunked" in answer
    assert answer.endswith(b"0\r\n\r\n")


async def test_trailers_do_not_become_headers(server: EmbeddedServer) -> None:
    """What comes after a body cannot change who asks."""
    asked = (
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: authorization\r\n\r\n"
        b"5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    )
    (answer,) = bodies(await exchange(server, asked))
    assert answer["body"] == "hello"
    assert "authorization" not in dict(answer["headers"])


ENDLESS: dict[str, Callable[[int], bytes]] = {
    "line": lambda at: b"GET /" + b"a" * 900 if at == 0 else b"a" * 900,
    "header": lambda at: b"GET / HTTP/1.1\r\nA: " if at == 0 else b"b" * 900,
    "headers": lambda at: b"GET / HTTP/1.1\r\n" if at == 0 else b"A: b\r\n" * 150,
    "trailers": lambda at: (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
        if at == 0
        else b"A: b\r\n" * 150
    ),
    "chunk extension": lambda at: (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" if at == 0 else b"a" * 900
    ),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_head_without_end_is_cut_by_its_size(server: EmbeddedServer, kind: str) -> None:
    """Lines, headers, trailers and chunk extensions cannot grow without bound."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    sent = 0
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(SLOW):
            while not reader.at_eof() and sent < 10_000_000:
                piece = ENDLESS[kind](sent)
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
                await asyncio.sleep(0)
    writer.close()
    assert sent < 10_000_000


async def test_large_head_in_one_piece_is_431(server: EmbeddedServer) -> None:
    """It need not come slowly."""
    answer = await exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 9000 + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431")
    small_with_body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    assert (await exchange(server, small_with_body)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nHo", b"GET /", b"\r\n", b""])
async def test_head_that_does_not_come_is_cut_by_time(server: EmbeddedServer, begun: bytes) -> None:
    """A head that dribbles in is 408; a connection that says nothing is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answer, began = b"", time.monotonic()
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(SLOW):
            writer.write(begun)
            while not reader.at_eof():
                if begun:
                    writer.write(begun[-1:])
                    await writer.drain()
                with contextlib.suppress(TimeoutError):
                    answer += await asyncio.wait_for(reader.read(1000), 0.1)
    writer.close()
    assert time.monotonic() - began < SLOW
    assert answer.startswith(b"HTTP/1.1 408" if begun else b"")


async def test_unread_body_does_not_hold_the_connection(server: EmbeddedServer) -> None:
    """An answer that came before the request's body ends is the last thing that a
    dribbling client gets.
    """
    state = HealthState()
    health = HealthServer(state, "127.0.0.1", 0)
    health._server = EmbeddedServer(
        HttpConfig(health._app, port=0, timeout_graceful_shutdown=1, timeout_keep_alive=1)
    )
    await health._server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", health._server.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(SLOW):
                while not reader.at_eof():
                    writer.write(b"x")
                    await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1000), 0.1)
        writer.close()
    finally:
        await health._server.close()


async def test_client_that_does_not_read_is_cut(server: EmbeddedServer) -> None:
    """An answer without end to a client that takes nothing ends by the limit, and
    nothing is kept of it.
    """
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    writer.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(SLOW):
        while not server.server_state.tasks:  # noqa: ASYNC110  it has no event
            await asyncio.sleep(0.01)
        while server.server_state.connections or server.server_state.tasks:  # noqa: ASYNC110  neither
            await asyncio.sleep(0.05)
    writer.close()


async def test_health_server_answers_get_and_head_only() -> None:
    """HEAD is GET without the body; what could change something is 405."""
    health = HealthServer(HealthState(), "127.0.0.1", 0)
    health._server = EmbeddedServer(HttpConfig(health._app, port=0, timeout_graceful_shutdown=1))
    await health._server.start()
    try:
        got = await exchange(health._server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await exchange(health._server, b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n")
        posted = await exchange(health._server, REQUEST % UPGRADE)
        for answer in (got, head):
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"content-length: 18" in answer
        assert got.endswith(b'{"status":"alive"}')
        assert head.endswith(b"\r\n\r\n")
        assert posted.startswith(b"HTTP/1.1 405")
    finally:
        await health._server.close()
