"""Rows that make up planted cases, each an INSERT of so many requests of so many days."""

from datetime import UTC, datetime
from itertools import count

TO = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
"""The end of every span: the last midnight, since tables delete by their own clock."""
_SQL_TO = f"toDateTime64('{TO:%Y-%m-%d %H:%M:%S}', 3, 'UTC')"
_numbers = count()

_REQUEST = {
    "tenant": "'t'",
    "model": "'m'",
    "key_id": "'k'",
    "user": "concat('user', toString(n % 7))",
    "kind": "'chat'",
    "lane": "'interactive'",
    "stream": "true",
    "outcome": "'completed'",
    "error_code": "''",
    "finish_reasons": "['stop']",
    "attempts": "1",
    "replica_id": "'r1'",
    "prompt_tokens": "100",
    "cached_tokens": "0",
    "completion_tokens": "100",
    "cost_usd": "toDecimal64(0.001, 12)",
    "duration_ms": "1000",
    "queue_ms": "5",
    "ttft_ms": "300",
    "tokens_per_s": "50",
    "prompt_chars": "400",
    "risk_level": "'none'",
    "prompt_text": "NULL",
}


def requests(number: int, days: range, *, hours: range = range(24), **columns: str) -> str:
    """So many requests, spread evenly over days before `TO` (0 is the last) and hours of
    the day. `columns` are SQL of `n`, the request's number from 0.
    """
    return _insert("inference_events", number, days, hours, "completed_at", _REQUEST | columns)


def ratings(number: int, good: int, days: range, **columns: str) -> str:
    """So many ratings, so many of every hundred of them good."""
    rated = {"tenant": "'t'", "model": "'m'", "user": "'u'", "rating": f"if(n % 100 < {good}, 1, -1)"}
    return _insert("feedback", number, days, range(24), "submitted_at", rated | columns)


def findings(number: int, days: range, **columns: str) -> str:
    """So many findings in prompts, which gateways made."""
    found = {
        "tenant": "'t'",
        "finding_id": "concat(tenant, '-', toString(n))",
        "place": "'prompt'",
        "depth": "'inline'",
        "category": "'jailbreak'",
        "level": "'high'",
        "score": "15",
        "action": "'flagged'",
    }
    return _insert("security_findings", number, days, range(24), "found_at", found | columns)


def verdicts(number: int, true: int, days: range, **columns: str) -> str:
    """What people said of the findings of the same numbers: so many of every hundred were
    right.
    """
    said = {
        "tenant": "'t'",
        "finding_id": "concat(tenant, '-', toString(n))",
        "place": "'prompt'",
        "verdict": f"if(n % 100 < {true}, 'true_alarm', 'false_alarm')",
    }
    return _insert("finding_feedback", number, days, range(24), "given_at", said | columns)


def policy(tenant: str, position: int, store_text: str) -> str:
    """A change of a tenant's policy, as the audit has it."""
    after = f'{{"tenant": "{tenant}", "store_text": "{store_text}"}}'
    return (
        "INSERT INTO audit_log (chain, position, occurred_at, tenant, action, outcome, object_kind, "
        "object_id, "
        f"after) VALUES ('0', {position}, {_SQL_TO} - INTERVAL 20 DAY + INTERVAL {position} SECOND, "
        f"'{tenant}', "
        f"'policy.changed', 'done', 'policy', '{tenant}', '{after}')"
    )


def revoked(key_id: str, position: int) -> str:
    """A key that was revoked, as the audit has it."""
    return (
        "INSERT INTO audit_log (chain, position, occurred_at, tenant, action, outcome, object_kind, "
        "object_id) "
        f"VALUES ('0', {position}, {_SQL_TO} - INTERVAL 40 DAY, 't', 'key.revoked', 'done', 'key', "
        f"'{key_id}')"
    )


def spent(tenant: str, budget: str, day: int, hours: int, share: float = 1) -> str:
    """A budget of a day that was spent so many hours before its end."""
    values, end = f"'budget_share', {share}, {share}, '{tenant}'", f"{_SQL_TO} - INTERVAL {day} DAY"
    summary = f"1 of the 1 USD a day of budget {budget} are spent, the line is {share:.0%}"
    return (
        "INSERT INTO kpi_breaches (detected_at, breach_id, state, metric, value, threshold, tenant, "
        "summary) VALUES "
        f"({end} - INTERVAL {hours} HOUR, '{budget}{day}', 'breached', {values}, '{summary}'), "
        f"({end}, '{budget}{day}', 'recovered', {values}, '{summary}')"
    )


def _insert(  # noqa: PLR0917
    table: str, number: int, days: range, hours: range, at: str, columns: dict[str, str]
) -> str:
    named = (
        {} if table == "finding_feedback" else {"request_id": f"concat('r{next(_numbers)}-', toString(n))"}
    )
    ids = named | columns
    second = f"{hours.start * 3600} + intDiv(n, {len(days)}) * 7919 % {len(hours) * 3600}"
    day = f"{days.start} + n % {len(days)}"
    moment = f"{_SQL_TO} - toIntervalDay({day} + 1) + toIntervalSecond({second})"
    selected = ", ".join(f"{sql} AS {name}" for name, sql in ids.items())
    return (
        f"INSERT INTO {table} ({at}, {', '.join(ids)}) SELECT at, {', '.join(ids)} FROM "
        f"(SELECT number AS n, {moment} AS at, {selected} FROM numbers({number}))"
    )
