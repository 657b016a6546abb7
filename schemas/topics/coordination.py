"""The topics by which gateways and consoles agree: who may do what, and what each used."""

from pydantic import TypeAdapter

from schemas.control import CONTROL_CHANGE
from schemas.events.budgets import BudgetWarned
from schemas.events.gateways.idempotency import ANSWER_KEPT, KEY_EVENT
from schemas.events.gateways.limits import LimitShares
from schemas.events.keys import KeyUsed
from schemas.events.sessions import SessionEnded
from schemas.topics.topic import DAY, HOUR, LONGER_THAN_SESSIONS, Topic

CONTROL = Topic(
    "control.changes.v1",
    CONTROL_CHANGE,
    "kind:id",
    1,
    None,
    ("cli",),
    ("gateway",),
    "Keys, tenants, users, budgets, models, routes, thresholds and policies as they now stand.",
)
SESSIONS = Topic(
    "console.sessions.v1",
    TypeAdapter(SessionEnded),
    "key_id",
    1,
    LONGER_THAN_SESSIONS,
    ("console",),
    ("console",),
    "Sessions that were logged out, so that they are over at every console.",
)
KEY_USES = Topic(
    "keys.used.v1",
    TypeAdapter(KeyUsed),
    "key_id",
    1,
    None,
    ("gateway", "console"),
    ("console", "cli"),
    "When each API key was last used, to the minute.",
)
LIMIT_SHARES = Topic(
    "limits.shares.v1",
    TypeAdapter(LimitShares),
    "gateway_id",
    1,
    HOUR,
    ("gateway",),
    ("gateway",),
    "Each gateway's part in the use of limits. An hour of it is what a starting gateway reads back.",
)
_GATEWAY = ("gateway",)
_CLAIMED = "Which call claimed an Idempotency-Key, and that it was answered or released."
IDEMPOTENCY_CLAIMS = Topic("idempotency.claims.v1", KEY_EVENT, "digest", 1, DAY, _GATEWAY, _GATEWAY, _CLAIMED)
_SEALED = "Answers to calls with an Idempotency-Key, sealed with the call's own key and body."
IDEMPOTENCY_ANSWERS = Topic(
    "idempotency.answers.v1", ANSWER_KEPT, "answer_id", 6, DAY, _GATEWAY, _GATEWAY, _SEALED, scaled=True
)
BUDGETS_WARNED = Topic(
    "budgets.warned.v1",
    TypeAdapter(BudgetWarned),
    "budget_id",
    1,
    None,
    ("gateway",),
    ("gateway", "kpi"),
    "Shares of budgets that were spent; a budget's newest record says what was warned of.",
    dead_letters=True,
)
