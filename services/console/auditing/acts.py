"""The table of routes: what each is in the audit, or why it is not there.

tests/unit/console/auditing holds that every route is in one of the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from services.console.administration.kinds import KINDS

LOOKS = ("listed", "read", "spend_read")
"""What is told of who only looks at entries."""
SUBJECT = "subject"
"""A person: named by the route, by a pseudonym, never by the path."""
USER_FINDINGS = "user_findings"
"""A user of whom findings are read: the path's name is told as a pseudonym."""
Route = tuple[str, str]
"""A method and a path as the router has it."""


@dataclass(frozen=True, slots=True)
class Act:
    """What a call is in the audit. `object_parameters` are the path's parts that name
    the object.
    """

    action: str
    object_kind: str
    object_parameters: tuple[str, ...] = ()


def _reads_of_kinds() -> dict[Route, Act]:
    """Looking at entries of each kind of control state."""
    found: dict[Route, Act] = {}
    for kind in KINDS:
        one = f"/api/admin/{kind.plural}/{kind.path}"
        found["GET", f"/api/admin/{kind.plural}"] = Act(f"{kind.name}.listed", kind.name)
        found["GET", one] = Act(f"{kind.name}.read", kind.name, _parameters(kind.path))
    return found


def _changes_of_kinds() -> dict[Route, Act]:
    """Changing them. What is done is in the change's own transaction; from here come
    the attempts that were refused.
    """
    found: dict[Route, Act] = {}
    for kind in KINDS:
        all_, one = f"/api/admin/{kind.plural}", f"/api/admin/{kind.plural}/{kind.path}"
        verbs = {("POST", all_): "created", ("PATCH", one): "changed", ("DELETE", one): "deleted"}
        verbs |= {("POST", f"{one}/restore"): "restored", ("POST", f"{one}/purge"): "purged"}
        if kind.name == "key":
            verbs |= {("POST", f"{one}/revoke"): "revoked", ("POST", f"{one}/rotate"): "rotated"}
        for route, verb in verbs.items():
            found[route] = Act(f"{kind.name}.{verb}", kind.name, _parameters(route[1]))
    return found


def _parameters(path: str) -> tuple[str, ...]:
    return tuple(part.partition("}")[0].partition(":")[0] for part in path.split("{")[1:])


GIVING: Mapping[Route, Act] = {
    ("POST", "/api/auth/session"): Act("session.opened", "session"),
    ("DELETE", "/api/auth/session"): Act("session.ended", "session"),
    ("POST", "/api/auth/token"): Act("token.issued", "token"),
    ("GET", "/api/costs"): Act("costs.read", "costs"),
    ("GET", "/api/usage/analytics"): Act("usage.read", "usage"),
    ("GET", "/api/usage/forecast"): Act("forecast.read", "usage"),
    ("GET", "/api/usage/anomalies"): Act("anomalies.read", "usage"),
    ("GET", "/api/usage/capacity"): Act("capacity.read", "usage"),
    ("GET", "/api/usage/breaches"): Act("breaches.read", "breaches"),
    ("GET", "/api/quality/models"): Act("models.read", "models"),
    ("GET", "/api/requests"): Act("requests.listed", "requests"),
    ("GET", "/api/requests/{request_id}"): Act("request.read", "request", ("request_id",)),
    ("GET", "/api/export/{view}"): Act("view.exported", "view", ("view",)),
    ("GET", "/api/quality/satisfaction"): Act("satisfaction.read", "feedback"),
    ("GET", "/api/admin/audit"): Act("audit.read", "audit"),
    ("GET", "/api/admin/budgets/{budget_id}/spend"): Act("budget.spend_read", "budget", ("budget_id",)),
    ("GET", "/api/privacy/subjects/{user:whole}/export"): Act("subject.exported", SUBJECT),
    ("GET", "/api/privacy/receipts"): Act("erasure.listed", "erasure"),
    ("GET", "/api/privacy/receipts/{receipt_id}"): Act("erasure.read", "erasure", ("receipt_id",)),
    ("POST", "/api/security/analyze"): Act("prompt.analyzed", "prompt"),
    ("GET", "/api/security/summary"): Act("findings.counted", "findings"),
    ("GET", "/api/security/findings"): Act("findings.read", "findings"),
    ("GET", "/api/security/users/{user:whole}/timeline"): Act("findings.read", USER_FINDINGS, ("user",)),
    ("POST", "/api/security/findings/{finding_id}/feedback"): Act(
        "finding.judged", "finding", ("finding_id",)
    ),
    ("GET", "/api/security/tuning"): Act("findings.counted", "finding_feedback"),
    ("GET", "/api/recommendations"): Act("recommendation.listed", "recommendation"),
    ("GET", "/api/recommendations/{fingerprint}"): Act(
        "recommendation.read", "recommendation", ("fingerprint",)
    ),
    **{
        ("POST", f"/api/recommendations/{{fingerprint}}/{verb}"): Act(
            f"recommendation.{said}", "recommendation", ("fingerprint",)
        )
        for verb, said in (("accept", "accepted"), ("dismiss", "dismissed"), ("done", "done"))
    },
    **_reads_of_kinds(),
}
"""What gives a right, or data of others: answered only once its entry is written."""

CHANGES: Mapping[Route, Act] = {
    **_changes_of_kinds(),
    ("DELETE", "/api/privacy/subjects/{user:whole}"): Act("subject.erasure_requested", SUBJECT),
    ("POST", "/api/me/keys/{key_id}/rotate"): Act("key.rotated", "key", ("key_id",)),
    ("POST", "/api/me/keys/{key_id}/revoke"): Act("key.revoked", "key", ("key_id",)),
}
"""What changes control state, in whose transaction its entry is, or begins an erasure,
which writes its entry first: from here come the attempts that were refused.
"""

_OWN = "one's own matters"
_OPEN = "tells nothing of anybody"
EXEMPT: Mapping[Route, str] = {
    ("GET", "/api/auth/session"): _OWN,
    ("GET", "/api/me"): _OWN,
    ("GET", "/api/me/limits"): _OWN,
    ("GET", "/api/me/usage"): _OWN,
    ("GET", "/api/me/keys"): _OWN,
    ("GET", "/api/me/prices"): _OWN,
    ("GET", "/api/export"): "names of views and columns",
    ("GET", "/api/status"): "the platform's state: no data of users or tenants",
    ("POST", "/v1/feedback"): "one's own rating, which is an event with its author itself",
    **{("GET", path): _OPEN for path in ("/health", "/ready", "/metrics")},
    **{("GET", path): _OPEN for path in ("/docs", "/docs/{asset}", "/openapi.json")},
    **{("GET", path): _OPEN for path in ("/api/docs", "/api/docs/{asset}", "/api/openapi.json")},
}
"""Calls that are not audited, each with the reason."""
