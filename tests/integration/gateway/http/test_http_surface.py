"""The HTTP surface as curl, Java, browsers and base URLs with a slash too many meet it."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from services.common.errors import ConfigError
from services.gateway.app import Gateway
from services.gateway.settings import Settings
from tests.integration.common.test_http_server import JAVA, exchange, needs, run
from tests.integration.gateway.conftest import Scene, StartGateway, client_of, until
from tests.support.inference.fake_inference import FakeInference, words_of

CHAT = "/v1/chat/completions"
WHOLE = "".join(words_of("hello", 0, 20))
ORIGIN = "https://app.example"


def chat(scene: Scene, **more: Any) -> dict[str, Any]:
    """A chat request's body."""
    return {"model": scene.model, "messages": [{"role": "user", "content": "hello"}], **more}


def post_head(scene: Scene, length: int) -> bytes:
    """The head of a chat request whose body has this length."""
    lines = [f"POST {CHAT} HTTP/1.1", "Host: x", f"Authorization: Bearer {scene.key}"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def application(gateway: Gateway) -> FastAPI:
    """The framework's application within a gateway."""
    served: Any = gateway._server.config.app
    while not isinstance(served, FastAPI):
        served = served._app
    return served


@needs("curl")
@pytest.mark.parametrize("version", ["--http2", "--http1.0", "--http1.1"])
@pytest.mark.parametrize("stream", [True, False])
async def test_curl_is_answered_in_every_version(
    scene: Scene, shared_gateway: int, inference: FakeInference, version: str, *, stream: bool
) -> None:
    """Whole and streamed answers reach curl, whatever it would rather speak."""
    output = await run(
        *("curl", "-sS", version, "-H", f"authorization: Bearer {scene.key}", "--max-time", "20"),
        *("-d", orjson.dumps(chat(scene, stream=stream)).decode(), "-w", "\n%{http_code}"),
        f"http://127.0.0.1:{shared_gateway}{CHAT}",
    )
    assert output.endswith("\n200")
    assert ("data: [DONE]" in output) is stream
    assert "hello0.19" in output


@needs("java")
async def test_java_http_client_is_answered(
    scene: Scene, shared_gateway: int, inference: FakeInference, tmp_path: Path
) -> None:
    """Java's HttpClient asks for h2c with its body, which used to be lost."""
    source = tmp_path / "Ask.java"
    body = orjson.dumps(chat(scene)).decode().replace('"', '\\"')
    source.write_text(
        JAVA.replace("hello from Java", body).replace(
            ".POST(", f'.header("authorization", "Bearer {scene.key}").POST('
        )
    )
    output = await run("java", str(source), f"http://127.0.0.1:{shared_gateway}{CHAT}")
    assert output.count("HTTP_1_1 200") == 2
    assert output.count("hello0.19") == 2


async def test_http_1_0_stream_ends_with_its_connection(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """No chunks: an old proxy or client takes the bytes as they are."""
    gateway = await start_gateway()
    body = orjson.dumps(chat(scene, stream=True))
    head = f"POST {CHAT} HTTP/1.0\r\nAuthorization: Bearer {scene.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = await exchange(gateway._server, head.encode() + body, half_close=False)
    head_text, _, events = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head_text
    assert events.startswith(b"id: ")
    assert events.endswith(b"data: [DONE]\n\n")


async def test_head_is_wherever_get_is(scene: Scene, start_gateway: StartGateway) -> None:
    """Every GET route answers HEAD with GET's status and headers, and no body."""
    gateway = await start_gateway()
    routes = [route for route in application(gateway).routes if isinstance(route, APIRoute)]
    gets = {route.path for route in routes if "GET" in route.methods}
    assert gets <= {route.path for route in routes if "HEAD" in route.methods}
    async with client_of(gateway, scene) as client:
        paths = ["/health", "/ready", "/docs", "/openapi.json", "/v1/models", f"/v1/models/{scene.model}"]
        for path in paths:
            head, got = await client.head(path), await client.get(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert head.headers["content-length"] == got.headers["content-length"]
        assert (await client.head("/v1/models/nothing")).status_code == 404
        assert (await client.head("/v1/models", headers={"authorization": "x"})).status_code == 401


async def test_head_of_a_stream_takes_nobody_s_over(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """It says whether there is one, and its client goes on."""
    inference.gate.clear()
    async with client.stream("POST", CHAT, json=chat(scene, stream=True)) as response:
        lines = response.aiter_lines()
        await anext(lines)
        head = await client.head(f"/v1/streams/{response.headers['x-request-id']}")
        inference.gate.set()
        rest = [line async for line in lines]
    assert (head.status_code, head.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
    assert "data: [DONE]" in rest
    assert inference.cancelled == []
    assert (await client.head("/v1/streams/chatcmpl-0")).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/v1/models/", "//v1/models", "/v1//models", "///v1//models//", "/v1/models/{model}/", "/health/", "//"],
)
async def test_slash_too_many_is_no_other_path(scene: Scene, client: httpx.AsyncClient, path: str) -> None:
    """Base URLs with a slash at the end make such paths."""
    url = httpx.URL(str(client.base_url)).copy_with(raw_path=path.replace("{model}", scene.model).encode())
    response = await client.get(url)
    assert response.status_code == (404 if path == "//" else 200)


async def test_slash_too_many_generates_as_well(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """POST is the busiest of them."""
    for path in ("/v1//chat/completions", "/v1/chat/completions/", "//generate"):
        url = httpx.URL(str(client.base_url)).copy_with(raw_path=path.encode())
        assert (await client.post(url, json=chat(scene, model_name=scene.model))).status_code == 200


async def test_cors_is_off_by_default(scene: Scene, client: httpx.AsyncClient) -> None:
    """No page of another origin may call."""
    asked = {"origin": ORIGIN, "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in (await client.get("/v1/models", headers=asked)).headers
    assert (await client.options("/v1/models", headers=asked)).status_code == 405


async def test_cors_lets_named_origins_in_under_v1(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """Preflights, answers, streams and errors are marked for them, and for no other."""
    gateway = await start_gateway(cors_origins=f"https://one.example, {ORIGIN}")
    headers = {"origin": ORIGIN}
    async with client_of(gateway, scene) as client:
        preflight = await client.options(
            CHAT,
            headers=headers
            | {
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization,content-type,x-stainless-lang",
            },
        )
        answers = [
            preflight,
            await client.post(CHAT, headers=headers, json=chat(scene)),
            await client.post(CHAT, headers=headers, json=chat(scene, stream=True)),
            await client.post(CHAT, headers=headers, content=b"{"),
            await client.get("/v1/nothing", headers=headers),
            await client.get("/v1/models", headers=headers | {"authorization": "Bearer x"}),
        ]
        assert [one.status_code for one in answers] == [200, 200, 200, 400, 404, 401]
        assert {one.headers["access-control-allow-origin"] for one in answers} == {ORIGIN}
        assert "x-stainless-lang" in preflight.headers["access-control-allow-headers"]
        assert "x-request-id" in answers[1].headers["access-control-expose-headers"]
        stranger = await client.get("/v1/models", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers
        assert "access-control-allow-origin" not in (await client.get("/health", headers=headers)).headers


@pytest.mark.parametrize("value", ["app.example", "https://app.example/", "https://a b", "*.example", "null"])
def test_origin_that_is_none_is_a_wrong_setting(value: str) -> None:
    """A slash at the end would match nothing, silently."""
    with pytest.raises(ConfigError, match="TOCSIN_CORS_ORIGINS"):
        Settings.load(key_pepper="p" * 16, pseudonym_key="p" * 16, cors_origins=value)


async def test_finished_request_cannot_be_cancelled(
    scene: Scene, client: httpx.AsyncClient, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """409 at any gateway, and no retry; a running one is cancelled once."""
    finished = (await client.post(CHAT, json=chat(scene))).json()["id"]
    async with client_of(await start_gateway(), scene) as other:
        for asked in (client, other):
            refused = await asked.delete(f"/v1/requests/{finished}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "request_finished")
            assert refused.headers["x-should-retry"] == "false"
    assert inference.cancelled == []
    inference.gate.clear()
    async with client.stream("POST", CHAT, json=chat(scene, stream=True)) as response:
        running = response.headers["x-request-id"]
        assert (await client.delete(f"/v1/requests/{running}")).status_code == 202
        async for _ in response.aiter_lines():
            pass
    assert (await client.delete(f"/v1/requests/{running}")).status_code == 409


async def test_examples_of_the_document_work_as_they_stand(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """What /docs shows can be sent with one click."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    examples = {
        path: operations["post"]["requestBody"]["content"]["application/json"]["example"]
        for path, operations in paths.items()
        if "requestBody" in operations.get("post", {}) and path != "/v1/feedback"  # needs an answer's id
    }
    assert len(examples) >= 4
    for path, example in examples.items():
        response = await client.post(path, json=example)
        assert response.status_code == 200, (path, response.text)
        assert "x-ignored-fields" not in response.headers


async def test_operations_have_titles_of_their_own(client: httpx.AsyncClient) -> None:
    """Neither the documentation's list nor a generated client has a name twice."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    operations = [one for operations in paths.values() for one in operations.values()]
    for field in ("summary", "operationId"):
        found = [one[field] for one in operations]
        assert len(found) == len(set(found))


async def test_body_that_does_not_end_is_408(scene: Scene, start_gateway: StartGateway) -> None:
    """The limit is a setting, and the connection ends with the answer."""
    gateway = await start_gateway(body_timeout_s=0.3)
    head = post_head(scene, 100)
    async with asyncio.timeout(15):
        answer = await exchange(gateway._server, head, b"{", half_close=False)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"body_incomplete"' in answer


async def test_client_that_stops_reading_has_its_request_cancelled(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """A stream that nobody reads does not hold a replica."""
    inference.words, inference.words_a_chunk = 800_000, 2_000
    inference.held_from = 398  # it never ends by itself, however fast the machine
    inference.gate.clear()
    gateway = await start_gateway(write_timeout_s=0.5, max_buffered_bytes=64 * 1024)
    body = orjson.dumps(chat(scene, stream=True))
    head = post_head(scene, len(body))
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", gateway.port))
    _, writer = await asyncio.open_connection(sock=client, limit=1)
    writer.write(head + body)
    await inference.until(lambda: bool(inference.cancelled), timeout_s=60)
    await until(lambda: gateway.serving.registry.serving == 0)
    writer.close()
