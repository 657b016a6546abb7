"""What each topic of the bus holds of persons, and when it is gone. A topic that is not
here fails tests/unit/console/privacy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.topics import TOPICS, Topic, dead_letter_topic
from services.console.privacy.subject import Subject

COMPACTED_WITHIN = timedelta(hours=80)
"""When the last trace of a record is gone that an empty one replaced. A segment closes
after an hour and with the next record (2 h: `elsewhere/compacted_topics.py` writes one an
hour), is compacted within a day of that (26 h); the empty record, whose key may be a name,
is kept for a day more (50 h), and goes with the next compaction (78 h)."""
_DELETED_WITHIN = timedelta(minutes=6)
"""When the files of a segment that is too old are gone: a broker looks every five minutes
by default, and deletes a minute later."""

HOLDS: Mapping[str, str] = {
    "inference.requests.{model}.{lane}.v1": "prompts as they came, the pseudonym",
    "inference.work.v1": "prompts as they came, the pseudonym",
    "inference.replies.v1": "answers as they went",
    "inference.commands.v1": "",
    "inference.status.v1": "answers as they went",
    "inference.completed.v1": "masked texts, the pseudonym",
    "control.changes.v1": "the name, in entries that were purged",
    "console.sessions.v1": "ids of keys",
    "keys.used.v1": "ids of keys",
    "idempotency.claims.v1": "",
    "idempotency.answers.v1": "answers, which only who has their Idempotency-Key and body can open",
    "limits.shares.v1": "the pseudonym",
    "feedback.submitted.v1": "masked remarks, the pseudonym",
    "audit.entries.v1": "the pseudonym, ids of keys, the name in what was done to their entries",
    "audit.anchors.v1": "",
    "privacy.erasures.v1": "the name, sealed, until the erasure is complete",
    "security.findings.v1": "masked texts, the pseudonym",
    "security.feedback.v1": "ids of keys, the pseudonym of who judged",
    "security.risk.v1": "the pseudonym",
    "security.observations.v1": "the pseudonym, sketches that tell how like texts are, findings",
    "security.subjects.v1": "the pseudonym, figures of behaviour",
    "kpi.breaches.v1": "the pseudonym",
    "recommendations.changes.v1": "the pseudonym or key of who decided, and why; keys advised on",
    "kpi.state.v1": "",
    "drift.reports.v1": "",
    "alerts.raised.v1": "the pseudonym",
    "budgets.warned.v1": "the name, of budgets that were purged",
    "retraining.requests.v1": "ids of keys",
    "retraining.results.v1": "",
}
"""Each topic with what it may hold of a person; empty where nothing."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Records of a compacted topic that are removed by an empty one: the `keys` of a
    subject.
    """

    topic: str
    keys: Callable[[Subject], tuple[str, ...]]


TOMBSTONES: tuple[Tombstone, ...] = (Tombstone("keys.used.v1", lambda subject: subject.key_ids),)
"""One line a compacted topic that names subjects in its keys; entries of the control state
and what was warned of their budgets go with the entries, risks with what the security role
remembers (`elsewhere/security_memory.py`)."""


def last_copy(topic: Topic, since: datetime) -> datetime:
    """When a topic has no record any more that was written by `since`."""
    if topic.retention is None or topic.segment is None:
        return since + COMPACTED_WITHIN
    return since + topic.retention + topic.segment + _DELETED_WITHIN


def copies(since: datetime) -> list[tuple[str, str, datetime]]:
    """The topics that hold something of persons, what, and until when at most; dead
    letters too.
    """
    found = [
        (topic.name, HOLDS[topic.name], last_copy(topic, since)) for topic in TOPICS if HOLDS[topic.name]
    ]
    letters = (dead_letter_topic(topic) for topic in TOPICS if topic.dead_letters and HOLDS[topic.name])
    return found + [
        (one.name, "events that a consumer could not use", last_copy(one, since)) for one in letters
    ]
