"""security.findings: what security analysis found."""

from schemas.events.security import SecurityFinding
from schemas.topics import FINDINGS
from services.analyzer.recorder.rows import (
    MEASURE,
    TIME,
    WORD,
    WORDS,
    Column,
    Recording,
    as_json,
    log_columns,
)

SECURITY_FINDINGS: Recording[SecurityFinding] = Recording(
    "security_findings",
    FINDINGS.model,
    (
        Column("found_at", TIME, lambda event: event.message.found_at),
        Column("tenant", WORD, lambda event: event.message.tenant),
        Column("user", "String", lambda event: event.message.user),
        Column("key_id", WORD, lambda event: event.message.key_id),
        Column("request_id", "String", lambda event: event.message.request_id),
        Column("model", WORD, lambda event: event.message.model),
        Column("finding_id", "String", lambda event: event.message.finding_id),
        Column("place", WORD, lambda event: event.message.place),
        Column("depth", WORD, lambda event: event.message.depth),
        Column("category", WORD, lambda event: event.message.category),
        Column("level", WORD, lambda event: event.message.level.value),
        Column("score", "Float64", lambda event: event.message.score),
        Column("probability", MEASURE, lambda event: event.message.probability),
        Column("action", WORD, lambda event: event.message.action),
        Column("rule_names", WORDS, lambda event: [one.rule for one in event.message.rules]),
        Column("rules", "String", lambda event: as_json(event.message.rules)),
        Column("detector_version", WORD, lambda event: event.message.detector_version),
        Column("rules_version", WORD, lambda event: event.message.rules_version),
        Column("explanation", "Array(String)", lambda event: event.message.explanation),
        Column("masked_text", "Nullable(String)", lambda event: event.message.masked_text),
        Column("neighbours", "String", lambda event: as_json(event.message.neighbours)),
        *log_columns(),
    ),
)
