"""Each saved query, on data of which the answer is known."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.common.errors import ConfigError
from services.common.store import Store
from services.common.store.dictionary import dictionary_page
from services.common.store.saved_queries import QUERIES, saved_queries
from tests.support.analyzer.recording import fresh_database
from tests.support.store import RunningStore

SAVED = saved_queries()
NOW = datetime(2026, 11, 20, tzinfo=UTC)
_ROWS = (
    # Monday the 16th, then Tuesday the 17th
    """INSERT INTO inference_events (completed_at, requested_at, tenant, model, request_id, key_id, user,
       kind, lane, outcome, error_code, attempts, replica_id, prompt_tokens, completion_tokens, cost_usd,
       duration_ms, queue_ms, ttft_ms, finish_reasons, recorded_at) VALUES
    ('2026-11-16 10:00:01', '2026-11-16 10:00:00', 'acme', 'm1', 'r1', 'k1', 'u1', 'chat', 'interactive',
     'completed', '', 1, 'x', 100, 50, 0.002, 1000, 100, 300, ['stop'], '2026-11-16 10:00:02'),
    ('2026-11-16 11:00:02', '2026-11-16 11:00:00', 'acme', 'm1', 'r2', 'k1', 'u2', 'chat', 'batch',
     'failed', 'replica_lost', 2, 'x', 10, 0, 0, 2000, NULL, NULL, [], '2026-11-16 11:00:03'),
    ('2026-11-17 10:00:06', '2026-11-17 10:00:00', 'acme', 'm2', 'r3', 'k2', 'u1', 'chat', 'interactive',
     'completed', '', 1, 'y', 200, 100, NULL, 6000, 500, 1500, ['length'], '2026-11-17 10:00:07'),
    ('2026-11-17 12:00:00', '2026-11-17 12:00:00', 'globex', 'm1', 'r4', 'k3', '', 'chat', 'interactive',
     'blocked', 'policy_blocked', 1, '', 40, 0, 0, 5, NULL, NULL, [], '2026-11-17 12:00:01')""",
    """INSERT INTO feedback (submitted_at, tenant, model, request_id, user, rating, comment) VALUES
    ('2026-11-16 10:05:00', 'acme', 'm1', 'r1', 'u1', 1, NULL),
    ('2026-11-17 10:05:00', 'acme', 'm2', 'r3', 'u1', -1, 'wrong')""",
    """INSERT INTO security_findings (found_at, tenant, user, request_id, finding_id, place, category, level,
       score, action) VALUES
    ('2026-11-17 12:00:00', 'globex', '', 'r4', 'f1', 'prompt', 'prompt_injection', 'high', 15, 'blocked'),
    ('2026-11-16 10:00:01', 'acme', 'u1', 'r1', 'f2', 'prompt', 'jailbreak', 'low', 4, 'flagged')""",
    """INSERT INTO finding_feedback (given_at, tenant, finding_id, verdict, category) VALUES
    ('2026-11-16 12:00:00', 'acme', 'f2', 'true_alarm', 'jailbreak'),
    ('2026-11-16 13:00:00', 'acme', 'f2', 'false_alarm', 'jailbreak')""",
    """INSERT INTO kpi_breaches (detected_at, breach_id, state, metric, value, threshold, tenant, examples)
    VALUES
    ('2026-11-17 10:01:00', 'b1', 'breached', 'latency_p95_s', 6, 5, 'acme', ['r3']),
    ('2026-11-17 10:06:00', 'b1', 'recovered', 'latency_p95_s', 2, 5, 'acme', [])""",
    """INSERT INTO kpi_breaches (detected_at, breach_id, state, metric, severity, value, threshold, tenant,
       examples, summary) VALUES
    ('2026-11-19 10:01:00', 'b2', 'breached', 'threats', 'warning', 7, 5, 'globex', ['r4'], 'seven')""",
)
KNOWN: dict[str, list[tuple[Any, ...]]] = {
    "usage/totals": [(4, 0.25, 2251.25, 500, "0.002")],
    "usage/by_day": [("2026-11-16", 2, 1, 160), ("2026-11-17", 2, 0, 340)],
    "usage/by_model": [("m1", 3, 1 / 3), ("m2", 1, 0)],
    "usage/by_hour_of_week": [(1, 10, 1), (1, 11, 1), (2, 10, 1), (2, 12, 1)],
    "usage/by_user": [
        ("acme", "u1", 2, 450, "0.002"),
        ("acme", "u2", 1, 10, "0"),
        ("globex", None, 1, 40, "0"),
    ],
    "usage/models_known": [
        ("acme", "m1", 2, 0.5, 0.002 * 1e6 / 160),
        ("acme", "m2", 1, 0, None),
        ("globex", "m1", 1, 0, None),
    ],
    "costs/by_day": [("2026-11-16", "0.002", 0), ("2026-11-17", "0", 1)],
    "costs/by_model": [("m1", "0.002"), ("m2", "0")],
    "costs/by_tenant": [("acme", "0.002", 3), ("globex", "0", 1)],
    "costs/by_key": [("acme", "k1", "0.002"), ("acme", "k2", "0"), ("globex", "k3", "0")],
    "costs/unpriced_models": [("m2", 1)],
    "quality/satisfaction": [("m1", 1, 1), ("m2", 1, 0)],
    "quality/complaints": [("2026-11-17T10:05:00", "acme", "r3", "wrong")],
    "quality/slow_requests": [("r3", "m2", 6000, 500, 1000, 4500)],
    "quality/where_time_goes": [("m1", 100, 300, 1000), ("m2", 500, 1500, 6000)],
    "quality/latency": [
        ("2026-11-16", "m1", 1000, 2000),
        ("2026-11-17", "m2", 6000, 6000),
        ("2026-11-17", "m1", 5, 5),
    ],
    "security/threats_by_category": [("jailbreak", "low", 1), ("prompt_injection", "high", 1)],
    "security/users_with_findings": [("acme", "u1", 1, 4)],
    "security/newest_findings": [
        ("2026-11-17T12:00:00", "globex", "r4", "prompt_injection", "high", "blocked")
    ],
    "security/false_alarms": [("jailbreak", 1, 1)],
    "security/blocked": [("2026-11-17T12:00:00", "globex", 1)],
    "operations/errors": [("policy_blocked", "m1", 1), ("replica_lost", "m1", 1)],
    "operations/retries": [("r2", "m1", 2, "failed")],
    "operations/queue": [("m1", "interactive", 1, 100), ("m2", "interactive", 1, 500)],
    "operations/request": [
        ("2026-11-17T10:00:00", "accepted", "chat for m2, lane interactive", 200, "tokens"),
        ("2026-11-17T10:00:00.500000", "started", "left the queue", 500, "ms"),
        ("2026-11-17T10:00:01.500000", "first_token", "time to first token", 1500, "ms"),
        ("2026-11-17T10:00:06", "finished", "completed, by y", 6000, "ms"),
        ("2026-11-17T10:00:06", "generated", "length", 100, "tokens"),
        ("2026-11-17T10:00:06", "priced", "its price is not known", None, "usd"),
        ("2026-11-17T10:00:07", "recorded", "without text", None, ""),
        ("2026-11-17T10:01:00", "breach", "latency_p95_s breached", 6, ""),
        ("2026-11-17T10:05:00", "rated", "bad", -1, "rating"),
    ],
    "operations/window": [
        (
            *("m1", 1, 3, 3 / 604800, 1, 1, 1 / 3, "{'policy_blocked': 1, 'replica_lost': 1}"),
            *[pytest.approx(1000, rel=0.02)] * 3,
            *[pytest.approx(300, rel=0.02)] * 3,
            *[None] * 3,
            *[pytest.approx(100, rel=0.02)] * 3,
            *(50 / 604800, "0.002", 0.002 * 3600 / 604800, 0, "{}", None, 1, 1),
        ),
        (
            *("m2", 1, 1, 1 / 604800, 1, 0, 0, "{}"),
            *[pytest.approx(6000, rel=0.02)] * 3,
            *[pytest.approx(1500, rel=0.02)] * 3,
            *[None] * 3,
            *[pytest.approx(500, rel=0.02)] * 3,
            *(100 / 604800, "0", 0, 0, "{}", None, 1, 0),
        ),
    ],
    "quality/model_scores": [],
    "operations/open_breaches": [
        ("2026-11-19T10:01:00", "threats", 7, 5, "warning", "", "globex", "seven", "['r4']")
    ],
    "operations/breaches": [
        ("2026-11-19T10:01:00", "threats", 7, 5, None),
        ("2026-11-17T10:01:00", "latency_p95_s", 6, 5, "2026-11-17T10:06:00"),
    ],
}

_GIVEN = {"request_id": "r3", "by": "model"}
"""Parameters without a default."""


@pytest.fixture(scope="module")
def known_url(store: RunningStore) -> str:
    """A database with the rows above."""
    url = fresh_database(store)

    async def fill() -> None:
        door = Store(url)
        for sql in _ROWS:
            await door.command(sql)
        await door.close()

    asyncio.run(fill())
    return url


@pytest.fixture
async def known(known_url: str) -> AsyncIterator[Store]:
    """The same, to be asked."""
    door = Store(known_url)
    yield door
    await door.close()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat()
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value if value is None or isinstance(value, int | float) else str(value)


def _equal(told: Any, expected: Any) -> bool:
    return bool(told == (pytest.approx(expected) if isinstance(expected, float) else expected))


@pytest.mark.parametrize("name", sorted(name for name in SAVED if not name.startswith("recommendations/")))
async def test_saved_query_tells_what_is_known(known: Store, name: str) -> None:
    """To the row, the order and the figure. Evidence of recommendations has its own test,
    advice/test_rules.py.
    """
    given = {one: _GIVEN[one] for one in SAVED[name].parameters if one in _GIVEN}
    rows = await known.query(SAVED[name].limited, SAVED[name].values(given, NOW))
    told = [tuple(_plain(one) for one in row.values()) for row in rows]
    assert len(told) == len(KNOWN[name]), told
    for mine, expected in zip(told, KNOWN[name], strict=True):
        assert all(_equal(*pair) for pair in zip(mine, expected, strict=True)), (mine, expected)


async def test_saved_queries_of_another_tenant_or_time_tell_nothing(known: Store) -> None:
    """Each honours whom and when it is asked about."""
    for name, saved in SAVED.items():
        asked: dict[str, str] = {}
        if "tenant" in saved.parameters:
            asked = {"tenant": "nobody"}
        elif "request_id" in saved.parameters:
            asked = {"request_id": "none"}
        asked |= {"by": "all"} if "by" in saved.parameters else {}
        rows = await known.query(saved.limited, saved.values(asked, NOW))
        assert not rows or set(rows[0].values()) <= {0, None} or name == "usage/totals", name
        if "from" in saved.parameters:
            old = {"from": "2020-01-01", "to": "2020-01-02"}
            old |= {"by": "all"} if "by" in saved.parameters else {}
            rows = await known.query(saved.limited, saved.values(old, NOW))
            assert not rows or name == "usage/totals", name


def test_saved_queries_are_described_typed_and_read_views_only() -> None:
    """A sentence first; nothing is read but views."""
    assert len(SAVED) >= 25
    for path in QUERIES.rglob("*.sql"):
        text = path.read_text()
        assert re.match(r"-- [A-Z][^\n]*\.\n", text), path
        sources = re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", text.partition("\n")[2])
        assert sources, path
        assert all(one.startswith("v_") for one in sources), path


def test_parameters_that_are_wrong_are_refused_by_name() -> None:
    """Unknown, missing, or of another type."""
    with pytest.raises(ConfigError, match="no parameter 'tennant'"):
        SAVED["usage/by_day"].values({"tennant": "x"}, NOW)
    with pytest.raises(ConfigError, match="request_id"):
        SAVED["operations/request"].values({}, NOW)
    for name, value in (("limit", "many"), ("from", "yesterday")):
        with pytest.raises(ConfigError, match=name):
            SAVED["usage/by_user"].values({name: value}, NOW)


async def test_data_dictionary_is_current(known: Store) -> None:
    """docs/concepts/data_dictionary.md is what `tocsin dictionary` prints."""
    page = (QUERIES.parents[2] / "docs" / "concepts" / "data_dictionary.md").read_text(encoding="utf-8")
    assert page == await dictionary_page(known), "run `tocsin dictionary > docs/concepts/data_dictionary.md`"
