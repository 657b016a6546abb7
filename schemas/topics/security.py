"""The topics of security, of the audit and of privacy."""

from pydantic import TypeAdapter

from schemas.events.audit import AuditEntry, ChainAnchored, SubjectErasure
from schemas.events.security import MEMORY, OBSERVATION, FindingFeedback, SecurityFinding, UserRisk
from schemas.topics.topic import MONTH, WEEK, Topic

AUDIT = Topic(
    "audit.entries.v1",
    TypeAdapter(AuditEntry),
    "tenant",
    1,
    MONTH,
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
ERASURES = Topic(
    *("privacy.erasures.v1", TypeAdapter(SubjectErasure), "erasure_id", 1, None, ("console", "cli")),
    *(
        ("console", "cli"),
        "Erasures of persons' data, and how far each came: the newest record is a receipt.",
    ),
)
FINDINGS = Topic(
    "security.findings.v1",
    TypeAdapter(SecurityFinding),
    "user",
    6,
    WEEK,
    ("gateway", "security"),
    ("recorder",),
    "What security analysis found.",
    scaled=True,
    ledger=True,
    dead_letters=True,
)
FINDING_FEEDBACK = Topic(
    "security.feedback.v1",
    TypeAdapter(FindingFeedback),
    "finding_id",
    1,
    WEEK,
    ("console",),
    ("recorder",),
    "What people say of findings.",
    ledger=True,
    dead_letters=True,
)
RISK = Topic(
    "security.risk.v1",
    TypeAdapter(UserRisk),
    "tenant/user",
    1,
    None,
    ("security", "console"),
    ("gateway",),
    "How suspicious each user's requests were lately: limits tighten by it.",
)
OBSERVATIONS = Topic(
    "security.observations.v1",
    OBSERVATION,
    "tenant",
    4,
    WEEK,
    ("security", "console"),
    ("security",),
    "Requests as security analysis saw them, without their texts, and whom it is to forget. A tenant's are "
    "in one order.",
    scaled=True,
    dead_letters=True,
)
SUBJECTS = Topic(
    "security.subjects.v1",
    MEMORY,
    "group/subject",
    4,
    None,
    ("security", "console"),
    ("security", "console"),
    "What security analysis remembers of users and keys, partition by partition of its observations.",
    scaled=True,
)
