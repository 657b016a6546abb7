"""What /api/security tells whom."""

from collections.abc import Mapping
from typing import Any

import pytest

from schemas.control import Scope, ThresholdsChanged
from schemas.events.security import FindingFeedback
from services.common.identity import pseudonym, pseudonyms
from tests.support.console.scene import PSEUDONYM_KEY, TENANT_ADMIN, ConsoleScene

FINDING = {
    "finding_id": "f1",
    "tenant": "acme",
    "category": "jailbreak",
    "level": "high",
    "place": "prompt",
    "score": 13.0,
    "detector_version": "m",
    "rules_version": "r",
}
FOUND: dict[str, Any] = {
    "score": 13.0,
    "probability": 0.9,
    "categories": ["jailbreak"],
    "findings": [],
    "pii": [],
    "masked_prompt": "x",
    "partial": False,
    "detector_version": "m",
    "rules_version": "r",
}


class Child:
    """Finds the same in every prompt."""

    is_alive = True

    async def ask(self, job: Any) -> Any:
        """What the job gives."""
        return FOUND

    async def close(self) -> None:
        """Ends it."""


async def start_child() -> Child:
    """Starts one."""
    return Child()


@pytest.fixture
def scene() -> ConsoleScene:
    """A console with two tenants."""
    made = ConsoleScene()
    made.have_tenant("acme")
    made.have_tenant("globex")
    made.console.security.analyst.child.start = start_child
    return made


async def test_analysis_is_by_the_tenants_thresholds_and_audited(scene: ConsoleScene) -> None:
    """Without the text; nothing is told where the audit cannot be written."""
    headers, key_id = scene.key("acme", Scope.READ)
    scene.have(ThresholdsChanged(tenant="acme", low=1, medium=2, high=3, critical=13, version=1))
    answer = await scene.client.post("/api/security/analyze", json={"prompt": "my words"}, headers=headers)
    told = answer.json()
    assert (told["risk_level"], told["threats_detected"], told["action"]) == (
        "critical",
        ["jailbreak"],
        "block",
    )
    assert told["user_history"] is None
    (entry,) = scene.recorded
    assert (entry.action, entry.actor.id, entry.tenant) == ("prompt.analyzed", key_id, "acme")
    assert "my words" not in entry.model_dump_json()
    scene.audit_is_away = True
    body = {"prompt": "my words", "user_id": "ann"}
    scene.console.auditing.given.end_windows(all_=True)
    refused = await scene.client.post("/api/security/analyze", json=body, headers=headers)
    assert refused.status_code == 503
    assert "risk_level" not in refused.json()


@pytest.mark.parametrize("prompt", ["x" * 102_401, "é" * 51_201, "\u20ac" * 34_134])
async def test_text_over_the_limit_is_refused_with_its_size(prompt: str) -> None:
    """In bytes, as it is sent."""
    scene = ConsoleScene(max_body_bytes=1024 * 1024)
    scene.have_tenant("acme")
    headers, _ = scene.key("acme", Scope.READ)
    answer = await scene.client.post("/api/security/analyze", json={"prompt": prompt}, headers=headers)
    assert (answer.status_code, answer.json()["param"]) == (400, "prompt")
    assert "102400" in answer.json()["detail"]


async def test_history_of_a_user_is_for_administrators(scene: ConsoleScene) -> None:
    """Of their own tenant's, by the name that requests give; not where the store is away."""
    body = {"prompt": "x", "user_id": "ann"}
    reader, admin = scene.key("acme", Scope.READ)[0], scene.key("acme", *TENANT_ADMIN)[0]
    assert (await scene.client.post("/api/security/analyze", json=body, headers=reader)).json()[
        "user_history"
    ] is None
    assert scene.store.asked == []
    scene.store.answer = lambda _sql, _given: [
        {"level": "medium", "findings": 2},
        {"level": "low", "findings": 1},
    ]
    told = (await scene.client.post("/api/security/analyze", json=body, headers=admin)).json()
    name = pseudonym(PSEUDONYM_KEY, tenant="acme", user="ann")
    assert told["user_history"] == {"user": name, "findings": 3, "highest_level": "medium"}
    assert scene.store.tenants_asked_for() == {"acme"}
    scene.store.is_away = True
    answer = await scene.client.post("/api/security/analyze", json=body, headers=admin)
    assert (answer.status_code, answer.json()["user_history"]) == (200, None)


@pytest.mark.parametrize("field", ["user", "userid", "text"])
async def test_field_that_is_not_known_is_refused(scene: ConsoleScene, field: str) -> None:
    """A misspelt user would look like one of whom nothing is known."""
    headers, _ = scene.key("acme", *TENANT_ADMIN)
    body = {"prompt": "x", field: "ann"}
    answer = await scene.client.post("/api/security/analyze", json=body, headers=headers)
    assert (answer.status_code, answer.json()["param"], scene.store.asked) == (400, field, [])


@pytest.mark.parametrize("path", ["users/{user}/timeline?", "findings?user={user}&"])
async def test_name_of_a_user_is_looked_up_as_who_calls_and_as_whom_callers_name(
    scene: ConsoleScene, path: str
) -> None:
    """Of one tenant: to an administrator of all a name alone would look like a user of
    whom nothing is known.
    """
    platform, _ = scene.key("default", *Scope)
    admin, _ = scene.key("acme", *TENANT_ADMIN)
    names = list(pseudonyms(PSEUDONYM_KEY, tenant="acme", user="u_1"))
    for headers, query in ((admin, ""), (platform, "tenant=acme")):
        answer = await scene.client.get(f"/api/security/{path.format(user='u_1')}{query}", headers=headers)
        assert answer.status_code == 200, answer.text
    assert [given["users"] for _, given in scene.store.asked if "users" in given].count(names) >= 2
    scene.store.asked.clear()
    refused = await scene.client.get(f"/api/security/{path.format(user='u_1')}", headers=platform)
    assert (refused.status_code, refused.json()["param"], scene.store.asked) == (400, "user", [])
    assert "say of which tenant" in refused.json()["detail"]
    told = await scene.client.get(f"/api/security/{path.format(user=names[1])}", headers=platform)
    assert told.status_code == 200
    assert {tuple(given["users"]) for _, given in scene.store.asked if "users" in given} == {(names[1],)}


@pytest.mark.parametrize("path", ["summary", "findings", "tuning", "users/ann/timeline"])
async def test_tenant_that_there_is_not_is_refused_unless_something_is_known_of_it(
    scene: ConsoleScene, path: str
) -> None:
    """A misspelt tenant would look like a quiet one; a purged one has its rows."""
    platform, _ = scene.key("default", *Scope)
    address = f"/api/security/{path}?tenant=acmee"
    refused = await scene.client.get(address, headers=platform)
    assert (refused.status_code, refused.json()["param"]) == (400, "tenant")
    if path == "summary":
        scene.store.answer = lambda sql, _given: [{"requests": 3}] if "inference_events" in sql else []
        assert (await scene.client.get(address, headers=platform)).status_code == 200


@pytest.mark.parametrize("name", ["level", "place", "action", "feedback"])
async def test_value_that_is_none_of_a_list_is_told_the_list_once(scene: ConsoleScene, name: str) -> None:
    """Without the empty text, which stands for no such parameter."""
    headers, _ = scene.key("acme", *TENANT_ADMIN)
    answer = await scene.client.get(f"/api/security/findings?{name}=crit", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["detail"].count(f"{name}: use '") == 1
    assert "''" not in answer.json()["detail"]


async def test_feedback_is_an_event_with_who_and_when(scene: ConsoleScene) -> None:
    """With the finding's figures, so that thresholds can be derived from it."""
    scene.store.answer = lambda _sql, _given: [FINDING]
    headers, key_id = scene.key("acme", *TENANT_ADMIN)
    path = "/api/security/findings/f1/feedback"
    answer = await scene.client.post(path, json={"verdict": "false_alarm"}, headers=headers)
    assert answer.status_code == 201
    (sent,) = scene.sent
    event = sent.value
    assert isinstance(event, FindingFeedback)
    assert (sent.topic, event.tenant, event.verdict) == ("security.feedback.v1", "acme", "false_alarm")
    assert (event.given_by_kind, event.given_by, event.score) == ("key", key_id, 13.0)
    assert [one.action for one in scene.recorded] == ["finding.judged"]
    assert scene.store.tenants_asked_for() == {"acme"}


async def test_finding_of_another_tenant_is_none_and_nothing_is_said_of_it(scene: ConsoleScene) -> None:
    """The same answer as for one that there never was."""

    def answer(_sql: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [FINDING] if given.get("tenant", "acme") == "acme" else []

    scene.store.answer = answer
    headers, _ = scene.key("globex", *TENANT_ADMIN)
    path = "/api/security/findings/f1/feedback"
    refused = await scene.client.post(path, json={"verdict": "false_alarm"}, headers=headers)
    assert (refused.status_code, scene.sent) == (404, [])
    platform, _ = scene.key("default", *Scope)
    assert (
        await scene.client.post(path, json={"verdict": "true_alarm"}, headers=platform)
    ).status_code == 201


@pytest.mark.parametrize("body", [{}, {"verdict": "maybe"}, {"verdict": "true_alarm", "note": "x"}, []])
async def test_feedback_that_is_none_is_refused(scene: ConsoleScene, body: Any) -> None:
    """Nothing is passed over silently."""
    headers, _ = scene.key("acme", *TENANT_ADMIN)
    path = "/api/security/findings/f1/feedback"
    assert (await scene.client.post(path, json=body, headers=headers)).status_code == 400
    assert scene.sent == []


@pytest.mark.parametrize("path", ["summary", "findings", "users/u_1/timeline", "tuning"])
async def test_findings_of_another_tenant_are_refused(scene: ConsoleScene, path: str) -> None:
    """By the parameter; the store is not even asked."""
    headers, _ = scene.key("acme", *TENANT_ADMIN)
    answer = await scene.client.get(f"/api/security/{path}?tenant=globex", headers=headers)
    assert (answer.status_code, scene.store.asked) == (403, [])


@pytest.mark.parametrize(
    ("there", "apply", "revert"),
    [
        (None, ["POST"], ["DELETE"]),
        ({}, ["PATCH"], ["PATCH"]),
        ({"deleted": True}, ["POST", "PATCH"], ["DELETE"]),
    ],
)
async def test_proposal_can_be_set_and_taken_back_as_it_is_told(
    scene: ConsoleScene, there: dict[str, Any] | None, apply: list[str], revert: list[str]
) -> None:
    """The calls work as they are, for an administrator of the platform alone."""
    platform, _ = scene.key("default", *Scope)
    if there is not None:
        fields = {"high": 11} if there else {}
        scene.have(ThresholdsChanged(tenant="acme", version=1, **fields))
    if there:
        await scene.client.delete("/api/admin/thresholds/acme", headers=platform)
    before = scene.console.control.state.thresholds_of("acme")

    def answer(sql: str, _given: Mapping[str, Any]) -> list[dict[str, Any]]:
        if "v_finding_feedback" in sql:
            return [{"score": 15.0, "verdict": "true_alarm"}] * 500
        return (
            [{"findings": 600}] if "v_findings" in sql else [{"now": "medium", "then": "high", "requests": 7}]
        )

    scene.store.answer = answer
    admin, _ = scene.key("acme", *TENANT_ADMIN)
    told = (await scene.client.get("/api/security/tuning?level=high", headers=admin)).json()
    assert told["proposed"]["thresholds"]["high"] == 7.5
    assert (told["recorded"]["raised"], told["recorded"]["lowered"]) == (7, 0)
    assert [one["method"] for one in told["apply"]] == apply
    assert [one["method"] for one in told["revert"]] == revert
    for headers, wanted in ((admin, 403), (platform, 300)):
        for one in told["apply"]:
            done = await scene.client.request(
                one["method"], one["path"], json=one["body"] or None, headers=headers
            )
            assert done.status_code == wanted if wanted == 403 else done.status_code < wanted, done.text
    assert scene.console.control.state.thresholds_of("acme").high == 7.5
    for one in told["revert"]:
        done = await scene.client.request(
            one["method"], one["path"], json=one["body"] or None, headers=platform
        )
        assert done.status_code < 300, done.text
    after = scene.console.control.state.thresholds_of("acme")
    assert (after.low, after.high) == (before.low, before.high)
