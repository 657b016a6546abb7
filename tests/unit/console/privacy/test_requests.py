"""Who may erase whom, and what an erasure and an export tell."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from schemas.control import Scope, UserChanged
from schemas.events.audit import SubjectErasure
from services.common.identity import pseudonym
from services.console.privacy.subject import subject_digest
from tests.support.console.scene import BEGAN, PSEUDONYM_KEY, TENANT_ADMIN, ConsoleScene

Headers = dict[str, str]


@pytest.fixture
def scene() -> ConsoleScene:
    """Two tenants, and users of acme: jo, and root who administers the platform."""
    found = ConsoleScene()
    found.have_tenant("acme")
    found.have_tenant("globex")
    platform = (*TENANT_ADMIN, Scope.PLATFORM)
    found.have(
        UserChanged(tenant="acme", user="jo", created_at=BEGAN, version=1),
        UserChanged(tenant="acme", user="root", created_at=BEGAN, version=1, scopes=platform),
    )
    return found


async def erase(
    scene: ConsoleScene, headers: Headers, user: str, confirm: str | None = None, **more: str
) -> httpx.Response:
    """Asks for a user's erasure."""
    asked = {"confirm": user if confirm is None else confirm} | more
    return await scene.client.request(
        "DELETE", f"/api/privacy/subjects/{user}", params=asked, headers=headers
    )


def begun(scene: ConsoleScene) -> list[SubjectErasure]:
    """The erasures that were told on the bus."""
    return [one.value for one in scene.sent if isinstance(one.value, SubjectErasure)]


async def test_erasure_is_begun_once_and_audited_without_a_name(scene: ConsoleScene) -> None:
    """Asked for twice while it is under way: one receipt, two entries; who it is stands in
    neither, nor in the record in clear.
    """
    admin, key_id = scene.key("acme", *TENANT_ADMIN)
    user = "jo.ann"  # no base64 has it by chance
    scene.have(UserChanged(tenant="acme", user=user, created_at=BEGAN, version=1))
    first, second = [await erase(scene, admin, user) for _ in range(2)]
    assert (first.status_code, second.status_code) == (202, 202), first.text
    assert first.json() == second.json()
    (erasure,) = begun(scene)
    assert (erasure.tenant, erasure.requested_by) == ("acme", f"key:{key_id}")
    assert first.headers["location"] == f"/api/privacy/receipts/{erasure.erasure_id}"
    assert [one.action for one in scene.recorded] == ["subject.erasure_requested"] * 2
    said = str([scene.recorded, erasure.encode()])
    assert user not in said
    assert pseudonym(PSEUDONYM_KEY, tenant="acme", user=user) not in said


async def test_nobody_is_told_who_is_there(scene: ConsoleScene) -> None:
    """Whoever is not known is erased as others are: the answers differ in the ids alone."""
    admin, _ = scene.key("acme", *TENANT_ADMIN)
    known, unknown = [await erase(scene, admin, user) for user in ("jo", "nobody")]
    assert (known.status_code, unknown.status_code) == (202, 202)
    assert known.json().keys() == unknown.json().keys()
    receipts = []
    for answer in (known, unknown):
        told = await scene.client.get(f"/api/privacy/receipts/{answer.json()['id']}", headers=admin)
        receipts.append({name: value for name, value in told.json().items() if name not in _OWN})
    assert receipts[0] == receipts[1]


_OWN = {"id", "subject", "signature", "requested_at", "erased_up_to", "next_round_at", "bus", "bus_gone_by"}


@pytest.mark.parametrize(
    ("user", "confirm", "status"),
    [("jo", "", 400), ("jo", "Jo", 400), ("jo", "jo ", 400), ("x" * 1025, None, 400), ("a/b é😀", None, 202)],
)
async def test_name_is_confirmed_to_the_letter(
    scene: ConsoleScene, user: str, confirm: str | None, status: int
) -> None:
    """And any name may be one that a client sent."""
    admin, _ = scene.key("acme", *TENANT_ADMIN)
    answer = await erase(scene, admin, user, confirm)
    assert answer.status_code == status, answer.text
    assert len(begun(scene)) == (status == 202)


async def test_tenants_administrator_erases_neither_others_users_nor_the_platforms(
    scene: ConsoleScene,
) -> None:
    """Another tenant's are not theirs; who administers the platform is not theirs to erase or
    to export, be it by their entry or by a key.
    """
    admin, _ = scene.key("acme", *TENANT_ADMIN)
    scene.key("acme", *TENANT_ADMIN, Scope.PLATFORM, user="kim")
    assert (await erase(scene, admin, "jo", tenant="globex")).status_code == 403
    export = "/api/privacy/subjects/jo/export?tenant=globex"
    assert (await scene.client.get(export, headers=admin)).status_code == 403
    for user in ("root", "kim"):
        assert (await erase(scene, admin, user)).status_code == 403
        told = await scene.client.get(f"/api/privacy/subjects/{user}/export", headers=admin)
        assert told.status_code == 403
    assert begun(scene) == []
    platform, _ = scene.key("default", *TENANT_ADMIN, Scope.PLATFORM)
    assert (await erase(scene, platform, "root", tenant="acme")).status_code == 202


@pytest.mark.parametrize("user", ["jo\n", "a\nb", "\r\n", "a/b\u2028c", "jo/export", "\n/export\n"])
async def test_user_of_any_name_can_be_erased(scene: ConsoleScene, user: str) -> None:
    """Callers name users as they like, and the path is that user's, no other's."""
    admin, _ = scene.key("acme", *TENANT_ADMIN)
    answer = await erase(scene, admin, quote(user, safe=""), user)
    assert answer.status_code == 202, answer.text
    [erasure] = begun(scene)
    assert erasure.subject == subject_digest(answer.json()["proof"], "acme", user)


async def test_nobody_erases_themself(scene: ConsoleScene) -> None:
    """By a key of theirs or in a session: what they did would be DELETED's."""
    admin, _ = scene.key("acme", *TENANT_ADMIN, user="ann")
    for headers in (admin, await scene.session(admin)):
        assert (await erase(scene, headers, "ann")).status_code == 403
    other, _ = scene.key("acme", *TENANT_ADMIN, user="ben")
    assert (await erase(scene, other, "ann")).status_code == 202


async def test_tenant_has_so_many_erasures_waiting_and_makes_no_other_tenant_wait(
    scene: ConsoleScene,
) -> None:
    """The twenty-first is told to come back; one that is under way is told all the same."""
    admin, _ = scene.key("acme", *TENANT_ADMIN)
    stranger, _ = scene.key("globex", *TENANT_ADMIN)
    answers = [await erase(scene, admin, f"user-{number}") for number in range(21)]
    assert [one.status_code for one in answers] == [202] * 20 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert (await erase(scene, admin, "user-0")).json() == answers[0].json()
    assert (await erase(scene, stranger, "user-20")).status_code == 202


async def test_receipt_of_another_tenant_is_not_there(scene: ConsoleScene) -> None:
    """Nor in the list; the platform's administrator sees all."""
    admin, _ = scene.key("acme", *TENANT_ADMIN)
    stranger, _ = scene.key("globex", *TENANT_ADMIN)
    receipt = (await erase(scene, admin, "jo")).json()["id"]
    platform, _ = scene.key("default", *TENANT_ADMIN, Scope.PLATFORM)
    for headers, there in ((admin, True), (stranger, False), (platform, True)):
        told = await scene.client.get(f"/api/privacy/receipts/{receipt}", headers=headers)
        assert told.status_code == (200 if there else 404)
        listed = await scene.client.get("/api/privacy/receipts", headers=headers)
        assert [one["id"] for one in listed.json()["data"]] == ([receipt] if there else [])
    named = await scene.client.get("/api/privacy/receipts?tenant=acme", headers=stranger)
    assert named.status_code == 403


async def test_without_its_entry_nothing_is_begun_and_nothing_exported(scene: ConsoleScene) -> None:
    """The audit is away: 503, and the bus has no erasure."""
    admin, _ = scene.key("acme", *TENANT_ADMIN)
    scene.audit_is_away = True
    assert (await erase(scene, admin, "jo")).status_code == 503
    assert begun(scene) == []
    answer = await scene.client.get("/api/privacy/subjects/jo/export", headers=admin)
    assert answer.status_code == 503
    assert b"tocsin-subject-export" not in answer.content


async def test_export_is_audited_by_pseudonym_and_tells_only_the_subjects_own(scene: ConsoleScene) -> None:
    """The entry names nobody; statements name the tenant and the subject's own names; of
    an entry who changed it is not told.
    """
    admin, key_id = scene.key("acme", *TENANT_ADMIN)
    scene.have(UserChanged(tenant="acme", user="jo", created_at=BEGAN, version=2, changed_by=f"key:{key_id}"))
    answer = await scene.client.get("/api/privacy/subjects/jo/export", headers=admin)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    assert [one["user"] for one in told["entries"]] == ["jo"]
    assert key_id not in answer.text
    (entry,) = scene.recorded
    name = pseudonym(PSEUDONYM_KEY, tenant="acme", user="jo")
    assert (entry.action, entry.object_id, entry.tenant) == ("subject.exported", name, "acme")
    assert "jo" not in str(entry.after)
    assert {tuple(asked.parameters["users"]) for asked in scene.store.asked} == {tuple(told["pseudonyms"])}
    assert scene.store.tenants_asked_for() == {"acme"}
