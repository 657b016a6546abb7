"""Who a gateway lets in: issuers' tokens, short tokens for keys, and no guesses."""

import asyncio
import time
from typing import Any

from services.common.control import changes
from services.common.control.access.last_uses import read_last_uses
from services.common.identity import parse_key
from tests.integration.gateway.conftest import Scene, StartGateway, client_of, until
from tests.support.control import control_writer, make_key
from tests.support.inference.fake_inference import FakeInference
from tests.support.issuer import AUDIENCE, ISSUER, SECRET, claims, sign

_MODELS = "/v1/models"


def bearer(token: str) -> dict[str, str]:
    """What a client of this token sends."""
    return {"authorization": f"Bearer {token}"}


async def test_gateway_lets_in_tokens_and_slows_guesses(scene: Scene, start_gateway: StartGateway) -> None:
    """An issuer's, by a shared secret here; those that stand for a key; none forged."""
    gateway = await start_gateway(
        jwt_algorithms="HS256",
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
        jwt_secret=SECRET.decode(),
        trusted_proxies="127.0.0.0/8",
    )
    now_s = time.time()

    def issued(**more: Any) -> dict[str, str]:
        return bearer(sign(claims(now_s, **more), "HS256"))

    sent = parse_key(scene.key)
    assert sent is not None
    keys = gateway.serving.keys
    key = keys.find(sent.key_id)
    assert key is not None
    exchanged, _ = keys.exchanged(scene.key, key.scopes, now_s=int(now_s), until_s=int(now_s) + 60, jti="j")
    async with client_of(gateway, scene) as client:
        for good in (issued(), bearer(exchanged), scene.headers):
            listed = await client.get(_MODELS, headers=good)
            assert [one["id"] for one in listed.json()["data"]] == [scene.model], listed.text
        for status, headers in (
            (403, issued(scope="read")),
            (401, issued(tenant="nobody")),
            (401, issued(exp=int(now_s) - 60)),
            (401, issued(aud="another")),
            (401, bearer(sign(claims(now_s), "HS256", number=1))),
            (401, bearer(sign(claims(now_s), "HS256", header={"alg": "none"}))),
        ):
            refused = await client.get(_MODELS, headers=headers)
            assert refused.status_code == status, refused.text
            assert refused.json()["error"]["message"]
        there = {"x-forwarded-for": "203.0.113.9"}
        forged = bearer(exchanged[:-4] + "AAAA") | there
        statuses = [(await client.get(_MODELS, headers=forged)).status_code for _ in range(8)]
        assert (statuses[:5], statuses[-1]) == ([401] * 5, 429)
        slowed = await client.get(_MODELS, headers=forged)
        assert int(slowed.headers["retry-after"]) >= 1
        assert (await client.get(_MODELS, headers=scene.headers | there)).status_code == 200
    assert keys.uses is not None
    await keys.uses.flush()
    used_at = (await read_last_uses(scene.url)).of(key.key_id)
    assert used_at is not None
    assert abs(used_at.timestamp() - now_s) < 60


async def test_revoked_key_has_what_is_under_way_taken_back(
    scene: Scene, start_gateway: StartGateway, inference: FakeInference
) -> None:
    """A stream ends with an error, a whole answer with 401, and the replicas are told;
    another key's stream goes on.
    """
    inference.held_from = 2
    inference.gate.clear()
    clear, record = await make_key(scene.url, name="shut")
    body = {"model": scene.model, "messages": [{"role": "user", "content": "hello"}]}
    async with client_of(await start_gateway(), scene) as client:

        async def ask(key: str, *, stream: bool) -> tuple[int, str]:
            answer = await client.post(
                "/v1/chat/completions", json=body | {"stream": stream}, headers=bearer(key)
            )
            return answer.status_code, answer.text

        async with asyncio.timeout(10):
            while (await client.get(_MODELS, headers=bearer(clear))).status_code != 200:  # noqa: ASYNC110  what is looked at has no event
                await asyncio.sleep(0.02)
        streamed, whole = (asyncio.create_task(ask(clear, stream=stream)) for stream in (True, False))
        other = asyncio.create_task(ask(scene.key, stream=True))
        await until(lambda: len(inference.asked) == 3)
        await control_writer(scene.url).apply(changes.revoke_key(record.key_id))
        status, text = await streamed
        assert (status, "invalid_api_key" in text, "[DONE]" in text) == (200, True, False)
        status, text = await whole
        assert (status, "invalid_api_key" in text) == (401, True)
        await until(lambda: len(inference.cancelled) == 2)
        assert {one.reason for one in inference.cancelled} == {"invalid_api_key"}
        inference.gate.set()
        status, text = await other
        assert (status, "[DONE]" in text) == (200, True)
