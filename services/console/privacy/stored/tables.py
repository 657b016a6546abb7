"""Which tables know of persons, where, and what becomes of that. A table that is not
here must be in `EXEMPT`; tests/unit/console/privacy holds it.

Rows stay: they are the figures, and the ledger counts them. What tells who and what was
said is overwritten. Statements name nobody: whom they are about is in the table
`erasing` (`work`, an erasure and the process that does it).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

DELETED = "DELETED"
_USERS = "(SELECT value FROM erasing WHERE work = {work:String} AND kind = 'user')"
_KEYS = "(SELECT value FROM erasing WHERE work = {work:String} AND kind = 'key')"
_REQUESTS = "(SELECT value FROM erasing WHERE work = {work:String} AND kind = 'request')"
_REQUEST_IDS = "(SELECT groupArray(value) FROM erasing WHERE work = {work:String} AND kind = 'request')"
_OWN = f"user IN {_USERS}"


def blank(column: str) -> str:
    """NULL with nothing behind it. `column = NULL` would keep the text on disk under the
    mark that it is not there.
    """
    return f"nullIf(left({column}, 0), '')"


def _deleted_key(column: str = "key_id") -> str:
    return f"if({column} IN {_KEYS}, '{DELETED}', {column})"


def as_parameters(where: str) -> str:
    """The same condition for a statement that names the subject in `users` and `keys`."""
    return where.replace(_USERS, "{users:Array(String)}").replace(_KEYS, "{keys:Array(String)}")


@dataclass(frozen=True, slots=True)
class PersonalRows:
    """Rows of a table that are about a subject, and what is written into them.

    `place` is what the receipt calls them. `time` bounds what is erased; `kept` says
    what stays of a row and why. `texts` are blanked when a tenant's retention is over,
    `exported` is what an export tells.
    """

    place: str
    table: str
    time: str
    where: str
    values: Mapping[str, str]
    kept: str
    exported: tuple[str, ...] = ()
    expired: Mapping[str, str] = field(default_factory=dict)
    is_expired: str = ""

    @property
    def condition(self) -> str:
        """Of which rows, as a WHERE clause with parameters `work`, `tenant`, `cut`."""
        return f"tenant = {{tenant:String}} AND {self.time} < {{cut:DateTime64(3, 'UTC')}} AND ({self.where})"


PERSONAL: tuple[PersonalRows, ...] = (
    PersonalRows(
        "neighbours in findings",
        "security_findings",
        "found_at",
        "neighbours NOT IN ('', '[]') AND hasAny(arrayMap(one -> one.1, JSONExtract(neighbours, "
        f"'Array(Tuple(reference String))')), {_REQUEST_IDS})",
        {"neighbours": "'[]'"},
        "",
    ),
    PersonalRows(
        "findings",
        "security_findings",
        "found_at",
        f"{_OWN} OR key_id IN {_KEYS}",
        {
            "user": f"if({_OWN} OR key_id IN {_KEYS}, '{DELETED}', user)",
            "key_id": _deleted_key(),
            "masked_text": blank("masked_text"),
            "explanation": "emptyArrayString()",
            "neighbours": "'[]'",
        },
        "the row: kind, level and time of what was found, without whose",
        (
            *("found_at", "request_id", "model", "place", "category", "level", "score", "action"),
            *("masked_text", "explanation"),
        ),
        {"masked_text": blank("masked_text"), "explanation": "emptyArrayString()", "neighbours": "'[]'"},
        "masked_text IS NOT NULL OR notEmpty(explanation) OR neighbours NOT IN ('', '[]')",
    ),
    PersonalRows(
        "judgements of findings",
        "finding_feedback",
        "given_at",
        f"given_by IN {_USERS} OR given_by IN {_KEYS}",
        {"given_by": f"'{DELETED}'"},
        "the row: what was judged and how, without who judged",
        ("given_at", "finding_id", "verdict"),
    ),
    PersonalRows(
        "feedback of others on their answers",
        "feedback",
        "submitted_at",
        f"request_id IN {_REQUESTS} AND user NOT IN {_USERS} "
        "AND (comment IS NOT NULL OR correction IS NOT NULL)",
        {"comment": blank("comment"), "correction": blank("correction")},
        "",
    ),
    PersonalRows(
        "feedback",
        "feedback",
        "submitted_at",
        f"{_OWN} OR key_id IN {_KEYS}",
        {
            "user": f"'{DELETED}'",
            "key_id": _deleted_key(),
            "comment": blank("comment"),
            "correction": blank("correction"),
        },
        "the row: the rating, without whose",
        ("submitted_at", "request_id", "model", "rating", "comment", "correction"),
        {"comment": blank("comment"), "correction": blank("correction")},
        "comment IS NOT NULL OR correction IS NOT NULL",
    ),
    PersonalRows(
        "breaches",
        "kpi_breaches",
        "detected_at",
        _OWN,
        {"user": f"'{DELETED}'", "summary": "''", "examples": "emptyArrayString()"},
        "the row: the figure, without whose",
        ("detected_at", "metric", "value", "threshold", "summary"),
        {"summary": "''", "examples": "emptyArrayString()"},
        "summary != '' OR notEmpty(examples)",
    ),
    PersonalRows(
        "alerts",
        "alert_changes",
        "changed_at",
        f"labels['user'] IN {_USERS} OR changed_by IN {_USERS} OR changed_by IN {_KEYS}",
        {
            "labels": f"if(labels['user'] IN {_USERS}, mapUpdate(labels, map('user', '{DELETED}')), labels)",
            "title": f"if(labels['user'] IN {_USERS}, '', title)",
            "summary": f"if(labels['user'] IN {_USERS}, '', summary)",
            "annotations": f"if(labels['user'] IN {_USERS}, CAST(map(), 'Map(String, String)'), annotations)",
            "changed_by": f"if(changed_by IN {_USERS} OR changed_by IN {_KEYS}, '{DELETED}', changed_by)",
        },
        "the row: rule, state and time, without whose",
        ("changed_at", "rule", "state", "title", "summary"),
        {"title": "''", "summary": "''", "annotations": "CAST(map(), 'Map(String, String)')"},
        "title != '' OR summary != '' OR notEmpty(annotations)",
    ),
    PersonalRows(
        "retraining requests",
        "retraining_requests",
        "requested_at",
        f"requested_by IN {_USERS} OR requested_by IN {_KEYS}",
        {"requested_by": f"'{DELETED}'"},
        "the row, without who asked",
        ("requested_at", "model", "reasons"),
    ),
    PersonalRows(
        "recommendations and decisions on them",
        "recommendation_changes",
        "changed_at",
        f"changed_by IN {_USERS} OR changed_by IN {_KEYS} OR subject['key_id'] IN {_KEYS}",
        {
            "changed_by": f"if(changed_by IN {_USERS} OR changed_by IN {_KEYS}, '{DELETED}', changed_by)",
            "reason": f"if(changed_by IN {_USERS} OR changed_by IN {_KEYS}, '', reason)",
            **{
                name: f"if(subject['key_id'] IN {_KEYS}, "
                f"mapUpdate({name}, map('key_id', '{DELETED}')), {name})"
                for name in ("subject", "facts")
            },
            **{name: f"if(subject['key_id'] IN {_KEYS}, '', {name})" for name in ("title", "why")},
            "actions": f"if(subject['key_id'] IN {_KEYS}, emptyArrayString(), actions)",
        },
        "the row: figures, and what was decided, without whose key and who decided and why",
        ("changed_at", "fingerprint", "change", "reason", "title", "why"),
    ),
    PersonalRows(
        "requests",
        "inference_events",
        "requested_at",
        f"{_OWN} OR key_id IN {_KEYS}",
        {
            "user": f"'{DELETED}'",
            "key_id": _deleted_key(),
            "prompt_text": blank("prompt_text"),
            "response_text": blank("response_text"),
            "traceparent": "''",
        },
        "the row: tokens, price and times, which are the tenant's bill, without whose",
        (
            *("requested_at", "completed_at", "request_id", "key_id", "model", "kind", "outcome"),
            *("prompt_tokens", "completion_tokens", "cost_usd", "prompt_text", "response_text"),
            *("risk_level", "risk_score", "risk_action", "risk_categories"),
        ),
        {"prompt_text": blank("prompt_text"), "response_text": blank("response_text"), "traceparent": "''"},
        "prompt_text IS NOT NULL OR response_text IS NOT NULL OR traceparent != ''",
    ),
)
"""In the order in which they are erased: what is found by the ids of requests before
the requests themselves.
"""

EXEMPT: Mapping[str, str] = {
    "dead_letters": "erased by what is in them (special_tables.py)",
    "audit_log": "erased by salts, so that the chain holds (special_tables.py)",
    "inference_per_minute": "its counts of users are made anew (special_tables.py)",
    "inference_per_hour": "its counts of users are made anew (special_tables.py)",
    "inference_per_day": "its counts of users are made anew (special_tables.py)",
    "forecasts": "figures of tenants and models",
    "anomalies": "figures of tenants and models; who of a tenant's users made one is asked of the requests",
    "drift_reports": "figures of all traffic; examples are ids of requests, which tell nobody once erased",
    "retraining_results": "figures of models",
    "erasing": "whom erasures are about, while they go on",
}
"""Tables that are not in `PERSONAL`, with the reason."""
