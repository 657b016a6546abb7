"""Errors, headers and limits of the HTTP surface."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from schemas.control import Scope
from services.common.control import changes
from tests.integration.gateway.conftest import Scene, StartGateway, client_of, until
from tests.support.control import control_writer, make_key
from tests.support.inference.fake_inference import FakeInference

NOW = datetime.now(UTC)
CHAT = "/v1/chat/completions"


def chat(scene: Scene, **more: Any) -> dict[str, Any]:
    """A chat request's body."""
    return {"model": scene.model, "messages": [{"role": "user", "content": "hello"}], **more}


async def new_key(scene: Scene, **more: Any) -> tuple[dict[str, str], str]:
    """A further key: its header and its id."""
    clear, record = await make_key(scene.url, **({"name": "other", "tenant": "globex"} | more))
    return {"authorization": f"Bearer {clear}"}, record.key_id


async def status_becomes(client: httpx.AsyncClient, status: int, headers: dict[str, str]) -> None:
    """Waits until a key is treated so."""
    async with asyncio.timeout(10):
        while (await client.get("/v1/models", headers=headers)).status_code != status:  # noqa: ASYNC110  what is looked at has no event
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages", "invalid_value"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages",
            "invalid_value",
        ),
        ({"messages": [{"role": "user"}]}, "messages", "missing_required_parameter"),
        ({"temperature": 0.5}, "temperature", "unsupported_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"functions": []}, "functions", "invalid_value"),
        ({"top_logprobs": 3}, "top_logprobs", "invalid_value"),
        ({"n": 17}, "n", "invalid_value"),
        ({"max_completion_tokens": 5000}, "max_completion_tokens", "invalid_value"),
        ({"stop": ["a"] * 5}, "stop", "invalid_value"),
        ({"stop": ""}, "stop", "invalid_value"),
    ],
)
async def test_body_that_cannot_be_honoured_is_refused_by_name(
    scene: Scene, client: httpx.AsyncClient, more: dict[str, Any], param: str, code: str
) -> None:
    """What the model cannot honour is a 400 that names the field, never left out
    silently.
    """
    response = await client.post(CHAT, json=chat(scene) | more)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"], error["type"]) == (
        400,
        param,
        code,
        "invalid_request_error",
    )


async def test_neutral_values_and_unknown_keys_are_tolerated(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """Values that ask for nothing pass even where the engine has no such parameter, and
    so do keys that nobody knows.
    """
    neutral = {
        "temperature": 1,
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logit_bias": {},
        "tools": [],
        "stop": [],
        "whatever": 1,
    }
    response = await client.post(
        CHAT,
        json=chat(scene, **neutral, response_format={"type": "text"}, metadata={"a": "b"}, logprobs=False),
    )
    assert response.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b'"x"',
        b"\xff\xfe",
        b'{"model":' + b"[" * 100_000,
        b'{"model":"m","messages":"\\ud800"}',
    ],
)
async def test_body_that_is_no_request_is_400(client: httpx.AsyncClient, body: bytes) -> None:
    """Broken, deep and undecodable JSON is the client's mistake, in OpenAI's form."""
    response = await client.post(CHAT, content=body)
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("declared", [True, False])
async def test_body_over_the_limit_is_413(
    scene: Scene, start_gateway: StartGateway, *, declared: bool
) -> None:
    """A body that is too large is refused with or without a declared length, and the
    connection stays good.
    """
    body = json.dumps(chat(scene) | {"user": "x" * 300_000}).encode()

    async def parts() -> Any:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    async with client_of(await start_gateway(max_body_bytes=10_000), scene) as client:
        response = await client.post(CHAT, content=body if declared else parts())
        assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")
        assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer x", "Basic abc", "Bearer tsn_aaaaaaaa_" + "b" * 43]
)
async def test_bad_key_is_401(client: httpx.AsyncClient, authorization: str) -> None:
    """No key, half a key and an unknown key all get 401."""
    response = await client.post(CHAT, headers={"authorization": authorization}, json={})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_wrong_secret_of_a_known_key_is_401(scene: Scene, client: httpx.AsyncClient) -> None:
    """Knowing a key's id is worth nothing."""
    headers = {"authorization": f"Bearer {scene.key[:-1]}{'A' if scene.key[-1] != 'A' else 'B'}"}
    assert (await client.get("/v1/models", headers=headers)).status_code == 401


async def test_revoked_key_is_refused_at_every_gateway(scene: Scene, start_gateway: StartGateway) -> None:
    """How soon is measured by tests/benchmarks/sharing/revocation.py."""
    headers, key_id = await new_key(scene)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(await start_gateway(), scene)) for _ in range(3)]
        for client in clients:
            await status_becomes(client, 200, headers)
        await control_writer(scene.url).apply(changes.revoke_key(key_id))
        await asyncio.gather(*(status_becomes(client, 401, headers) for client in clients))


async def test_key_without_the_scope_is_403_and_an_expired_one_401(
    scene: Scene, client: httpx.AsyncClient
) -> None:
    """A good key for something else is forbidden; one past its time is not good."""
    reader, _ = await new_key(scene, scopes=(Scope.READ,))
    old, _ = await new_key(scene, now=NOW - timedelta(days=2), expires_at=NOW - timedelta(days=1))
    await status_becomes(client, 403, reader)
    await status_becomes(client, 401, old)


async def test_models_are_those_that_the_key_may_use(scene: Scene, client: httpx.AsyncClient) -> None:
    """A key sees its models, by name and alias; another's models do not exist for it."""
    stranger, _ = await new_key(scene, models=("something-else",))
    await status_becomes(client, 200, stranger)
    assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == [scene.model]
    assert set((await client.get(f"/v1/models/{scene.model}-alias")).json()) == {
        "id",
        "object",
        "created",
        "owned_by",
    }
    assert (await client.get("/v1/models", headers=stranger)).json()["data"] == []
    refused = await client.post(CHAT, headers=stranger, json=chat(scene))
    assert (refused.status_code, refused.json()["error"]["code"], refused.json()["error"]["param"]) == (
        404,
        "model_not_found",
        "model",
    )


async def test_request_of_another_tenant_does_not_exist(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference
) -> None:
    """Neither its stream nor its cancellation is to be had, and ids that were never
    given are 404 alike.
    """
    stranger, _ = await new_key(scene)
    await status_becomes(client, 200, stranger)
    request_id = (await client.post(CHAT, json=chat(scene))).json()["id"]
    for unknown in (
        request_id,
        request_id[:-1] + ("0" if request_id[-1] != "0" else "1"),
        "chatcmpl-0",
        "x" * 300,
    ):
        assert (await client.get(f"/v1/streams/{unknown}", headers=stranger)).status_code == 404
        assert (await client.delete(f"/v1/requests/{unknown}", headers=stranger)).status_code == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [("last-event-id", "nonsense"), ("last-event-id", "9999-1.0"), ("x-resume-window", "soon")],
)
async def test_header_that_makes_no_sense_is_400(
    scene: Scene, client: httpx.AsyncClient, inference: FakeInference, name: str, value: str
) -> None:
    """Malformed headers are named, as malformed fields are."""
    request_id = (await client.post(CHAT, json=chat(scene))).json()["id"]
    response = await client.get(f"/v1/streams/{request_id}", headers={name: value})
    assert (response.status_code, response.json()["error"]["param"]) == (400, name)


async def test_unknown_path_and_method_answer_in_the_right_form(client: httpx.AsyncClient) -> None:
    """OpenAI's error under /v1, problem+json elsewhere."""
    assert (await client.get("/v1/nothing")).json()["error"]["code"] == "not_found"
    assert (await client.get(CHAT)).status_code == 405
    elsewhere = await client.post("/generate", content=b"{")
    assert (elsewhere.status_code, elsewhere.headers["content-type"], elsewhere.json()["status"]) == (
        400,
        "application/problem+json",
        400,
    )


async def test_operations_answer_without_a_key(scene: Scene, start_gateway: StartGateway) -> None:
    """Health, readiness with each dependency, metrics and the offline documentation."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{(await start_gateway()).port}") as client:
        assert (await client.get("/health")).json() == {"status": "alive"}
        ready = await client.get("/ready")
        assert ready.status_code == 200
        assert {name: one["ok"] for name, one in ready.json()["dependencies"].items()} == {
            "control": True,
            "inspection": True,
            "kafka": True,
            "topics": True,
        }
        assert "tocsin_gateway_requests_total" in (await client.get("/metrics")).text
        assert "/docs/swagger-ui-bundle.js" in (await client.get("/docs")).text
        assert (await client.get("/docs/swagger-ui.css")).status_code == 200
        assert (await client.get("/docs/..%2fapp.py")).status_code == 404
        assert "ChatBody" in (await client.get("/openapi.json")).json()["components"]["schemas"]
        assert (await client.get("/health")).headers["x-request-id"].startswith("req-")


async def test_missing_topic_is_503_that_says_so(
    scene: Scene, start_gateway: StartGateway, tmp_path: Any
) -> None:
    """A model whose topics were not made yet is refused with what to do; the gateway is
    not ready.
    """
    models = tmp_path / "models.yaml"
    models.write_text("models: [{name: no-topics, engine: scripted, context_length: 100}]")
    async with client_of(await start_gateway(models_file=str(models)), scene) as client:
        response = await client.post(CHAT, json=chat(scene) | {"model": "no-topics"})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "topic_missing")
        assert (await client.get("/ready")).json()["dependencies"]["topics"]["ok"] is False


async def test_full_gateway_is_503(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """Beyond its limit a gateway refuses at once, with retry-after."""
    gateway = await start_gateway(max_in_flight=1)
    inference.gate.clear()
    async with client_of(gateway, scene) as client:
        waiting = asyncio.create_task(client.post(CHAT, json=chat(scene)))
        await until(lambda: gateway.serving.registry.serving == 1)
        response = await client.post(CHAT, json=chat(scene))
        inference.gate.set()
        assert (response.status_code, response.json()["error"]["code"], response.headers["retry-after"]) == (
            503,
            "overloaded",
            "1",
        )
        assert (await waiting).status_code == 200
