"""For each rule a planted case that it tells, and one that only nearly is one.

The subject of the one is called `yes`, that of the other `no`; `facts` are figures that
the evidence must have, counted by hand.
"""

from dataclasses import dataclass, field

from tests.contract.analytics.advice.rows import (
    findings,
    policy,
    ratings,
    requests,
    revoked,
    spent,
    verdicts,
)

WEEK, FORTNIGHT, MONTH = range(7), range(14), range(28)
BEFORE = range(7, 28)


@dataclass(frozen=True)
class Case:
    """Rows of both, the subject that is told, and what is known of it."""

    rows: tuple[str, ...]
    subject: dict[str, str]
    facts: dict[str, str] = field(default_factory=dict)


def _of(name: str) -> dict[str, str]:
    return {"tenant": f"'{name}'", "model": f"'{name}'"}


def _both(number: int, days: range, one: dict[str, str], other: dict[str, str]) -> tuple[str, ...]:
    """The same number of requests of both, with these columns."""
    return (requests(number, days, **one), requests(number, days, **other))


def _every(hundred: int, then: str, otherwise: str) -> str:
    return f"if(n % 100 < {hundred}, {then}, {otherwise})"


def _shares(  # noqa: PLR0917  a row of a table
    rule: str,
    number: int,
    days: range,
    of: int,
    nearly: int,
    column: str,
    then: str,
    otherwise: str,
    **more: str,
) -> tuple[str, ...]:
    """Requests of which so many of a hundred are the rule's, and so many of those that
    are not enough.
    """
    return _both(
        number,
        days,
        _of(f"{rule}-yes") | more | {column: _every(of, then, otherwise)},
        _of(f"{rule}-no") | more | {column: _every(nearly, then, otherwise)},
    )


def _model(rule: str) -> dict[str, str]:
    return {"model": f"{rule}-yes"}


def _tenant(rule: str) -> dict[str, str]:
    return {"tenant": f"{rule}-yes"}


CASES: dict[str, Case] = {
    "blocked_users": Case(
        (
            # seven users; two of them are blocked each time, or a seventh of all
            *_both(
                1400,
                FORTNIGHT,
                _of("blocked_users-yes") | {"outcome": "if(n % 7 < 2, 'blocked', 'completed')"},
                _of("blocked_users-no") | {"outcome": "if(intDiv(n, 7) % 7 = 0, 'blocked', 'completed')"},
            ),
        ),
        _tenant("blocked_users"),
        {"users": "2", "blocked": "400", "most_of_one": "200"},
    ),
    "abused_keys": Case(
        _shares("abused_keys", 700, FORTNIGHT, 30, 21, "outcome", "'blocked'", "'completed'"),
        _tenant("abused_keys") | {"key_id": "k"},
        {"blocked": "210", "requests": "700"},
    ),
    "false_alarms": Case(
        (
            verdicts(100, 60, range(30), tenant="'false_alarms-yes'"),
            verdicts(100, 75, range(30), tenant="'false_alarms-no'"),
        ),
        _tenant("false_alarms"),
        {"judged": "100", "false_alarms": "40"},
    ),
    "threats_let_through": Case(
        (
            findings(100, MONTH, tenant="'threats_let_through-yes'"),
            verdicts(100, 80, MONTH, tenant="'threats_let_through-yes'"),
            findings(100, MONTH, tenant="'threats_let_through-no'"),
            verdicts(100, 55, MONTH, tenant="'threats_let_through-no'"),
        ),
        _tenant("threats_let_through"),
        {"let_through": "100", "judged": "100", "true_alarms": "80"},
    ),
    "uninspected_prompts": Case(
        _shares("uninspected_prompts", 1400, FORTNIGHT, 60, 51, "risk_level", "''", "'none'"),
        _tenant("uninspected_prompts"),
        {"uninspected": "840", "requests": "1400"},
    ),
    "leaking_answers": Case(
        (
            findings(30, MONTH, tenant="'leaking_answers-yes'", place="'response'", category="'secret'"),
            findings(30, MONTH, tenant="'leaking_answers-no'", place="'response'", action="'masked'"),
        ),
        _tenant("leaking_answers"),
        {"answers": "30", "categories": "secret"},
    ),
    "raw_text_stored": Case(
        (
            policy("raw_text_stored-yes", 1, "masked"),
            policy("raw_text_stored-yes", 2, "raw"),
            policy("raw_text_stored-no", 3, "raw"),
            policy("raw_text_stored-no", 4, "masked"),
            *_both(
                140,
                FORTNIGHT,
                _of("raw_text_stored-yes") | {"prompt_text": "concat('text ', toString(n))"},
                _of("raw_text_stored-no") | {"prompt_text": "concat('text ', toString(n))"},
            ),
        ),
        _tenant("raw_text_stored"),
        {"texts": "140"},
    ),
    "attack_waves": Case(
        (
            findings(21, BEFORE, tenant="'attack_waves-yes'", finding_id="concat('w', toString(n))"),
            findings(42, WEEK, tenant="'attack_waves-yes'", finding_id="concat('x', toString(n))"),
            findings(63, BEFORE, tenant="'attack_waves-no'", finding_id="concat('y', toString(n))"),
            findings(42, WEEK, tenant="'attack_waves-no'", finding_id="concat('z', toString(n))"),
        ),
        _tenant("attack_waves") | {"category": "jailbreak"},
        {"recent": "42", "usual": "7", "times": "6"},
    ),
    "slow_first_tokens": Case(
        (
            requests(2100, BEFORE, **_of("slow_first_tokens-yes")),
            requests(700, WEEK, **_of("slow_first_tokens-yes"), ttft_ms="900"),
            requests(2100, BEFORE, **_of("slow_first_tokens-no")),
            requests(700, WEEK, **_of("slow_first_tokens-no"), ttft_ms="900", queue_ms="600"),
        ),
        _model("slow_first_tokens"),
        {"answers_lately": "700", "answers_before": "2100", "days_before": "21"},
    ),
    "long_queues": Case(
        _shares("long_queues", 1400, WEEK, 15, 11, "queue_ms", "1500", "900"),
        _model("long_queues") | {"lane": "interactive"},
        {"waited": "210", "requests": "1400"},
    ),
    "expired_requests": Case(
        _shares("expired_requests", 2100, WEEK, 2, 1, "outcome", "'expired'", "'completed'"),
        _model("expired_requests") | {"lane": "interactive"},
        {"expired": "42", "requests": "2100"},
    ),
    "lost_replicas": Case(
        _shares("lost_replicas", 2100, WEEK, 2, 1, "attempts", "2", "1"),
        _model("lost_replicas"),
        {"retried": "42", "requests": "2100"},
    ),
    "error_bursts": Case(
        (
            requests(1400, FORTNIGHT, **_of("error_bursts-yes")),
            requests(
                40,
                range(2, 3),
                hours=range(3, 4),
                **_of("error_bursts-yes"),
                outcome="'failed'",
                error_code="'upstream_error'",
            ),
            requests(1400, FORTNIGHT, **_of("error_bursts-no")),
            requests(
                40, range(2, 3), **_of("error_bursts-no"), outcome="'failed'", error_code="'upstream_error'"
            ),
        ),
        _model("error_bursts") | {"error_code": "upstream_error"},
        {"hours": "1", "errors_in_bursts": "40"},
    ),
    "abandoned_streams": Case(
        _shares("abandoned_streams", 1400, FORTNIGHT, 25, 21, "outcome", "'cancelled'", "'completed'"),
        _model("abandoned_streams"),
        {"streams": "1400", "left": "350", "tokens_generated": "35000"},
    ),
    "slow_replicas": Case(
        (
            requests(
                1400,
                WEEK,
                **_of("slow_replicas-yes"),
                replica_id="['a', 'b', 'c', 'd'][1 + intDiv(n, 7) % 4]",
                tokens_per_s="if(intDiv(n, 7) % 4 = 3, 25, 50)",
            ),
            requests(
                1400,
                WEEK,
                **_of("slow_replicas-no"),
                replica_id="['a', 'b', 'c', 'd'][1 + intDiv(n, 7) % 4]",
                tokens_per_s="if(intDiv(n, 7) % 4 = 3, 40, 50)",
            ),
        ),
        _model("slow_replicas") | {"replica_id": "d"},
        {"replicas": "4", "answers": "350"},
    ),
    "truncated_answers": Case(
        _shares("truncated_answers", 1400, FORTNIGHT, 25, 21, "finish_reasons", "['length']", "['stop']"),
        {"tenant": "truncated_answers-yes", "model": "truncated_answers-yes"},
        {"truncated": "350", "answered": "1400", "cut_at_tokens": "100"},
    ),
    "unused_keys": Case(
        (
            requests(40, range(40, 60), **_of("unused_keys-yes"), key_id="concat('old', toString(n % 2))"),
            requests(40, FORTNIGHT, **_of("unused_keys-yes"), key_id="'new'"),
            requests(40, range(25, 60), **_of("unused_keys-no"), key_id="'used'"),
            requests(40, range(50, 60), **_of("unused_keys-no"), key_id="'revoked'"),
            revoked("revoked", 10),
        ),
        _tenant("unused_keys"),
        {"keys": "2", "requests": "40"},
    ),
    "unused_models": Case(
        (
            requests(150, range(20, 50), **_of("unused_models-yes")),
            requests(150, range(13, 50), **_of("unused_models-no")),
        ),
        _model("unused_models"),
        {"before": "150", "unused": "1"},
    ),
    "silent_tenants": Case(
        (
            requests(280, range(3, 28), **_of("silent_tenants-yes")),
            requests(280, range(2, 28), **_of("silent_tenants-no")),
        ),
        _tenant("silent_tenants"),
        {"active_days": "25", "days_before": "25", "before": "280"},
    ),
    "dissatisfied_users": Case(
        (
            ratings(100, 55, MONTH, model="'dissatisfied_users-yes'"),
            ratings(100, 65, MONTH, model="'dissatisfied_users-no'"),
        ),
        _model("dissatisfied_users"),
        {"rated": "100", "bad": "45"},
    ),
    "night_batches": Case(
        (
            requests(900, FORTNIGHT, hours=range(1, 5), **_of("night_batches-yes"), stream="false"),
            requests(100, FORTNIGHT, hours=range(9, 12), **_of("night_batches-yes"), stream="false"),
            requests(
                900, FORTNIGHT, hours=range(1, 5), **_of("night_batches-no"), lane="'batch'", stream="false"
            ),
            requests(900, FORTNIGHT, hours=range(1, 5), **_of("night_batches-no"), stream="false"),
            requests(900, FORTNIGHT, hours=range(9, 12), **_of("night_batches-no"), stream="false"),
        ),
        _tenant("night_batches") | {"key_id": "k"},
        {"at_night": "900", "requests": "1000", "nights": "14"},
    ),
    "cheaper_models": Case(
        (
            requests(
                2800, MONTH, tenant="'cheaper_models-yes'", model="'dear'", cost_usd="toDecimal64(0.01, 12)"
            ),
            requests(280, MONTH, tenant="'cheaper_models-yes'", model="'cheap'"),
            ratings(200, 80, MONTH, tenant="'cheaper_models-yes'", model="'dear'"),
            ratings(200, 82, MONTH, tenant="'cheaper_models-yes'", model="'cheap'"),
            requests(
                2800, MONTH, tenant="'cheaper_models-no'", model="'dear'", cost_usd="toDecimal64(0.01, 12)"
            ),
            requests(280, MONTH, tenant="'cheaper_models-no'", model="'cheap'"),
            ratings(200, 80, MONTH, tenant="'cheaper_models-no'", model="'dear'"),
            ratings(200, 75, MONTH, tenant="'cheaper_models-no'", model="'cheap'"),
        ),
        {"tenant": "cheaper_models-yes", "model": "dear", "cheaper_model": "cheap"},
        {"usd": "28", "times": "10", "good": "160", "cheaper_good": "164", "gain": "6.3"},
    ),
    "concentrated_costs": Case(
        (
            requests(
                2800,
                MONTH,
                **_of("concentrated_costs-yes"),
                cost_usd="toDecimal64(if(n % 7 = 0, 0.01, 0.001), 12)",
            ),
            requests(
                2800,
                MONTH,
                **_of("concentrated_costs-no"),
                cost_usd="toDecimal64(if(n % 7 = 0, 0.005, 0.001), 12)",
            ),
        ),
        _tenant("concentrated_costs"),
        {"users": "7", "usd_of_one": "4", "usd": "6.4", "share_of_one": "0.625"},
    ),
    "cost_jumps": Case(
        (
            requests(2100, BEFORE, **_of("cost_jumps-yes")),
            requests(700, WEEK, **_of("cost_jumps-yes"), cost_usd="toDecimal64(0.003, 12)"),
            requests(2100, BEFORE, **_of("cost_jumps-no")),
            requests(700, WEEK, **_of("cost_jumps-no"), cost_usd="toDecimal64(0.0019, 12)"),
        ),
        {"tenant": "cost_jumps-yes", "model": "cost_jumps-yes"},
        {"usual": "0.1", "lately": "0.3", "times": "3", "gain": "1.4"},
    ),
    "exhausted_budgets": Case(
        (
            spent("exhausted_budgets-yes", "daily", 3, 6),
            spent("exhausted_budgets-yes", "daily", 5, 8),
            spent("exhausted_budgets-no", "once", 3, 6),
            spent("exhausted_budgets-no", "nearly", 3, 6, 0.8),
            spent("exhausted_budgets-no", "nearly", 5, 6, 0.8),
        ),
        {"tenant": "exhausted_budgets-yes", "budget": "daily"},
        {"periods": "2", "hours": "14", "gain": "3.5"},
    ),
    "unpriced_models": Case(
        _shares("unpriced_models", 1400, FORTNIGHT, 60, 51, "cost_usd", "NULL", "toDecimal64(0.001, 12)"),
        _model("unpriced_models"),
        {"unpriced": "840", "requests": "1400"},
    ),
    "idle_replicas": Case(
        (
            requests(3360, FORTNIGHT, **_of("idle_replicas-yes"), replica_id="['a', 'b', 'c'][1 + n % 3]"),
            requests(
                3360,
                FORTNIGHT,
                **_of("idle_replicas-no"),
                replica_id="['a', 'b', 'c'][1 + n % 3]",
                duration_ms="900000",
            ),
        ),
        _model("idle_replicas"),
        {"replicas_most": "3", "needed_most": "1"},
    ),
    "repeated_prompts": Case(
        (
            *_both(
                1400,
                WEEK,
                _of("repeated_prompts-yes") | {"prompt_text": "concat('ask ', toString(n % 980))"},
                _of("repeated_prompts-no") | {"prompt_text": "concat('ask ', toString(n % 1130))"},
            ),
        ),
        {"tenant": "repeated_prompts-yes", "model": "repeated_prompts-yes"},
        {"texts": "1400", "repeats": "420", "most_often": "2"},
    ),
    "repeated_prefixes": Case(
        (
            *_both(
                700,
                WEEK,
                _of("repeated_prefixes-yes")
                | {
                    "prompt_text": "concat(repeat('x', 2000), toString(n))",
                    "prompt_chars": "2003",
                    "prompt_tokens": "500",
                },
                _of("repeated_prefixes-no")
                | {
                    "prompt_text": "concat(toString(n), repeat('x', 2000))",
                    "prompt_chars": "2003",
                    "prompt_tokens": "500",
                },
            ),
        ),
        {"tenant": "repeated_prefixes-yes", "model": "repeated_prefixes-yes"},
        {"long_prompts": "700", "alike": "700", "prompt_tokens": "350000"},
    ),
}
