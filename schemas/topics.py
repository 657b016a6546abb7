"""The one list of topics: what each carries, how it is keyed, how long it keeps, who
writes and who reads.

`tocsin topics` provisions from it; the AsyncAPI document, the JSON Schemas and the
contract tests are made from it.
"""

import functools
import hashlib
import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter

from schemas.control import CONTROL_CHANGE
from schemas.events.alerts import AlertRaised
from schemas.events.audit import AuditEntry, ChainAnchored
from schemas.events.budgets import BudgetWarned
from schemas.events.dead_letters import DeadLettered
from schemas.events.drift import DriftReported
from schemas.events.feedback import FeedbackSubmitted
from schemas.events.gateways.idempotency import ANSWER_KEPT, KEY_EVENT
from schemas.events.gateways.limits import LimitShares
from schemas.events.keys import KeyUsed
from schemas.events.kpi import KpiBreached
from schemas.events.retraining import RetrainingRequested, RetrainingResult
from schemas.events.security import SecurityFinding, UserRisk
from schemas.events.sessions import SessionEnded
from schemas.inference import (
    REPLY,
    STATUS,
    WORK,
    CancelRequested,
    InferenceCompleted,
    InferenceRequested,
    Lane,
)

_LEGAL = re.compile(r"[a-z0-9._-]{1,80}")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic, or with `{model}` and `{lane}` in its name a family of them.

    `partitions` is the count at full scale. `scaled` topics may have fewer on a small
    machine; the others need exactly this many for their order. `retention` None means
    compacted: the newest record of a key stays. `ledger` topics are counted by their
    producers and proven complete by `v_ledger`.
    """

    name: str
    model: TypeAdapter[Any]
    key: str
    partitions: int
    retention: timedelta | None
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    summary: str
    scaled: bool = False
    ledger: bool = False
    dead_letters: bool = False

    def partition_count(self, scale: float) -> int:
        """Partitions at a scale of 0 to 1, at least one.

        Raises:
            ValueError: the scale is not in (0, 1].
        """
        if not 0 < scale <= 1:
            raise ValueError(f"the partition scale is {scale}; it must be above 0 and at most 1")
        return max(1, math.ceil(self.partitions * scale)) if self.scaled else self.partitions

    @property
    def segment(self) -> timedelta | None:
        """How long a segment stays open.

        Kafka deletes whole closed segments, so a record lives at most `retention +
        segment`; a fifth keeps that true.
        """
        return (
            None
            if self.retention is None
            else max(timedelta(minutes=1), min(self.retention / 5, timedelta(days=1)))
        )


_QUARTER_HOUR = timedelta(minutes=15)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_MONTH = timedelta(days=30)
_LONGER_THAN_SESSIONS = timedelta(days=8)

REQUESTS = Topic(
    "inference.requests.{model}.{lane}.v1",
    TypeAdapter(InferenceRequested),
    "request_id",
    1,
    _HOUR,
    ("gateway",),
    ("dispatcher",),
    "Requests for one model in one lane. One partition: a total order, so that a queue position is exact.",
)
WORK_TOPIC = Topic(
    "inference.work.v1",
    WORK,
    "replica_id",
    64,
    _QUARTER_HOUR,
    ("dispatcher",),
    ("replica",),
    "Replicas' inboxes: each replica reads the one partition that its id hashes to.",
    scaled=True,
)
REPLIES = Topic(
    "inference.replies.v1",
    REPLY,
    "request_id",
    64,
    _QUARTER_HOUR,
    ("replica", "dispatcher", "gateway"),
    ("gateway",),
    "Gateways' inboxes: generated text on its way to the client.",
    scaled=True,
)
COMMANDS = Topic(
    "inference.commands.v1",
    TypeAdapter(CancelRequested),
    "request_id",
    1,
    _QUARTER_HOUR,
    ("gateway",),
    ("dispatcher",),
    "What clients and gateways take back.",
)
STATUS_TOPIC = Topic(
    "inference.status.v1",
    STATUS,
    "replica_id",
    1,
    _QUARTER_HOUR,
    ("replica", "dispatcher"),
    ("dispatcher", "gateway", "inference"),
    "Heartbeats, finished attempts and queue lengths.",
)
COMPLETED = Topic(
    "inference.completed.v1",
    TypeAdapter(InferenceCompleted),
    "request_id",
    12,
    _WEEK,
    ("dispatcher", "gateway"),
    ("recorder", "gateway"),
    "The one end of each request.",
    scaled=True,
    ledger=True,
    dead_letters=True,
)
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
    _LONGER_THAN_SESSIONS,
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
    _HOUR,
    ("gateway",),
    ("gateway",),
    "Each gateway's part in the use of limits. An hour of it is what a starting gateway reads back.",
)
_GATEWAY = ("gateway",)
_CLAIMED = "Which call claimed an Idempotency-Key, and that it was answered or released."
IDEMPOTENCY_CLAIMS = Topic(
    "idempotency.claims.v1", KEY_EVENT, "digest", 1, _DAY, _GATEWAY, _GATEWAY, _CLAIMED
)
_SEALED = "Answers to calls with an Idempotency-Key, sealed with the call's own key and body."
IDEMPOTENCY_ANSWERS = Topic(
    "idempotency.answers.v1", ANSWER_KEPT, "answer_id", 6, _DAY, _GATEWAY, _GATEWAY, _SEALED, scaled=True
)
FEEDBACK = Topic(
    "feedback.submitted.v1",
    TypeAdapter(FeedbackSubmitted),
    "request_id",
    3,
    _WEEK,
    ("console",),
    ("recorder",),
    "Ratings of answers.",
    scaled=True,
    ledger=True,
    dead_letters=True,
)
AUDIT = Topic(
    "audit.entries.v1",
    TypeAdapter(AuditEntry),
    "tenant",
    1,
    _MONTH,
    ("gateway", "console", "cli"),
    ("audit",),
    "Who did what. One partition: one chain of hashes over all entries.",
    ledger=True,
    dead_letters=True,
)
AUDIT_ANCHORS = Topic(
    *("audit.anchors.v1", TypeAdapter(ChainAnchored), "chain@position", 1, None, ("audit",)),
    *(("audit", "cli"), "Hashes of the audit's chains, one an hour: each has its own key, so all are kept."),
)
FINDINGS = Topic(
    "security.findings.v1",
    TypeAdapter(SecurityFinding),
    "user",
    6,
    _WEEK,
    ("gateway", "security"),
    ("recorder",),
    "What security analysis found.",
    scaled=True,
    ledger=True,
    dead_letters=True,
)
RISK = Topic(
    "security.risk.v1",
    TypeAdapter(UserRisk),
    "tenant/user",
    1,
    None,
    ("security",),
    ("gateway",),
    "How suspicious each user's requests were lately: limits tighten by it.",
)
BREACHES = Topic(
    "kpi.breaches.v1",
    TypeAdapter(KpiBreached),
    "breach_id",
    1,
    _WEEK,
    ("kpi",),
    ("recorder",),
    "Figures that crossed their thresholds, and that came back.",
    ledger=True,
    dead_letters=True,
)
DRIFT = Topic(
    "drift.reports.v1",
    TypeAdapter(DriftReported),
    "model",
    1,
    _WEEK,
    ("drift",),
    ("recorder",),
    "Comparisons of traffic with its baseline.",
    ledger=True,
    dead_letters=True,
)
ALERTS = Topic(
    "alerts.raised.v1",
    TypeAdapter(AlertRaised),
    "fingerprint",
    1,
    _WEEK,
    ("alerter",),
    ("recorder",),
    "Every change of an alert's state.",
    ledger=True,
    dead_letters=True,
)
BUDGETS_WARNED = Topic(
    "budgets.warned.v1",
    TypeAdapter(BudgetWarned),
    "budget_id",
    1,
    None,
    ("gateway",),
    ("gateway",),
    "Shares of budgets that were spent; a budget's newest record says what was warned of.",
)
RETRAINING_REQUESTS = Topic(
    "retraining.requests.v1",
    TypeAdapter(RetrainingRequested),
    "model",
    1,
    _WEEK,
    ("drift", "console"),
    ("recorder",),
    "Models that shall be trained again.",
    ledger=True,
    dead_letters=True,
)
RETRAINING_RESULTS = Topic(
    "retraining.results.v1",
    TypeAdapter(RetrainingResult),
    "model",
    1,
    _WEEK,
    ("training",),
    ("recorder",),
    "How far each retraining came.",
    ledger=True,
    dead_letters=True,
)

TOPICS: tuple[Topic, ...] = (
    REQUESTS,
    WORK_TOPIC,
    REPLIES,
    COMMANDS,
    STATUS_TOPIC,
    COMPLETED,
    CONTROL,
    SESSIONS,
    KEY_USES,
    IDEMPOTENCY_CLAIMS,
    IDEMPOTENCY_ANSWERS,
    LIMIT_SHARES,
    FEEDBACK,
    AUDIT,
    AUDIT_ANCHORS,
    FINDINGS,
    RISK,
    BREACHES,
    DRIFT,
    ALERTS,
    BUDGETS_WARNED,
    RETRAINING_REQUESTS,
    RETRAINING_RESULTS,
)


def dead_letter_topic(topic: Topic) -> Topic:
    """Where a consumer of `topic` sets aside what it cannot use."""
    return Topic(
        dead_letter_name(topic.name),
        TypeAdapter(DeadLettered),
        topic.key,
        topic.partitions,
        _MONTH,
        topic.consumers,
        ("recorder",),
        f"What a consumer of {topic.name} could not use.",
        scaled=topic.scaled,
    )


def dead_letter_name(topic: str) -> str:
    """The dead-letter topic's name."""
    return f"{topic}.dlq"


def model_slug(model: str) -> str:
    """A model's name as a part of a topic's name: itself where legal, else with a
    digest in place of what Kafka does not allow.
    """
    if _LEGAL.fullmatch(model) and "." not in model[:1]:
        return model
    digest = hashlib.sha256(model.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^a-z0-9_-]+', '-', model.lower())[:60].strip('-')}-{digest}"


@functools.lru_cache(maxsize=256)
def requests_topic(model: str, lane: Lane) -> str:
    """The topic of a model's lane."""
    return REQUESTS.name.format(model=model_slug(model), lane=lane.value)


def inbox_partition(owner_id: str, partitions: int) -> int:
    """The inbox partition that a gateway or a replica reads, by a hash of its id."""
    return int.from_bytes(hashlib.blake2s(owner_id.encode(), digest_size=8).digest(), "big") % partitions
