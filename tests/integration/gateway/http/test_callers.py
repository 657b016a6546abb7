"""Who a gateway lets in: issuers' tokens, short tokens for keys, and no guesses."""

import time
from typing import Any

from services.common.control.access.key_uses import read_last_uses
from services.common.identity import parse_key
from tests.integration.gateway.conftest import Scene, StartGateway, client_of
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
