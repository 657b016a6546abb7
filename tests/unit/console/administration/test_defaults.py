"""What a body leaves out, and names that nobody knows."""

import pytest

from schemas.control import Scope
from tests.support.console.scene import TENANT_ADMIN, ConsoleScene


@pytest.fixture
def scene() -> ConsoleScene:
    """A console with a tenant."""
    scene = ConsoleScene()
    scene.have_tenant("acme")
    return scene


@pytest.mark.parametrize("plural", ["keys", "users"])
async def test_scopes_left_out_are_those_of_the_usual_that_the_caller_has(
    scene: ConsoleScene, plural: str
) -> None:
    """Nobody is refused for what they did not ask for; who has none of them must say."""
    body = {"name": "k"} if plural == "keys" else {"user": "jo"}
    where = f"/api/admin/{plural}"
    none_of_them, _ = scene.key("acme", Scope.READ, Scope.ADMIN)
    answer = await scene.client.post(where, json=body, headers=none_of_them)
    assert (answer.status_code, answer.json()["param"]) == (400, "scopes")
    narrow, _ = scene.key("acme", Scope.INFER, Scope.ADMIN)
    answer = await scene.client.post(where, json=body, headers=narrow)
    assert (answer.status_code, answer.json()["scopes"]) == (201, ["infer"])
    other = {"user": "ann"} if plural == "users" else body
    named = await scene.client.post(where, json=other | {"scopes": ["feedback"]}, headers=narrow)
    assert (named.status_code, named.json()["param"]) == (403, "scopes")


async def test_key_for_a_model_or_a_user_nobody_knows_is_refused(scene: ConsoleScene) -> None:
    """When it is made and when it is changed; the answer says what there is, or how it
    comes to be there.
    """
    admin, key_id = scene.key("acme", *TENANT_ADMIN)
    made = await scene.client.post("/api/admin/keys", json={"name": "k", "models": ["gpt-4"]}, headers=admin)
    changed = await scene.client.patch(
        f"/api/admin/keys/{key_id}", json={"models": ["gpt-4"]}, headers=admin | {"if-match": "*"}
    )
    for answer in (made, changed):
        assert (answer.status_code, answer.json()["param"]) == (400, "models")
        assert "smollm2-135m" in answer.json()["detail"]
    nobody = await scene.client.post("/api/admin/keys", json={"name": "k", "user": "personne"}, headers=admin)
    assert (nobody.status_code, nobody.json()["param"]) == (400, "user")
    assert "tocsin users create --tenant acme personne" in nobody.json()["detail"]


async def test_token_that_shall_last_too_long_is_refused(scene: ConsoleScene) -> None:
    """By one bound, which the answer names; none is shortened silently."""
    headers, _ = scene.key("acme", Scope.INFER)
    for lasts_s, status in ((600, 200), (601, 400), (3601, 400), (10**9, 400)):
        answer = await scene.client.post("/api/auth/token", json={"expires_in_s": lasts_s}, headers=headers)
        assert answer.status_code == status, lasts_s
        if status == 400:
            assert "use 1 to 600 (TOCSIN_TOKEN_LONGEST_S)" in answer.json()["detail"]


async def test_path_that_is_not_there_names_the_page_that_lists_those_of_the_api(
    scene: ConsoleScene,
) -> None:
    """Below /api, which the gateway passes on; the page and its document are there."""
    for path in ("/api", "/api/nothing"):
        answer = await scene.client.get(path)
        assert (answer.status_code, "/api/docs lists" in answer.json()["detail"]) == (404, True)
    assert "/api/openapi.json" in (await scene.client.get("/api/docs")).text
    assert "/api/admin/keys" in (await scene.client.get("/api/openapi.json")).json()["paths"]
    assert (await scene.client.get("/api/docs/swagger-ui.css")).status_code == 200
