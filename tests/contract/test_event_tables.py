"""Every recorded topic against its migrated table: columns, types, rows, ledger."""

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.envelope import Envelope
from schemas.events.feedback import FeedbackSubmitted
from schemas.export import HOME
from schemas.topics import FEEDBACK, TOPICS
from services.analyzer.recorder.interfaces import StoreTables
from services.analyzer.recorder.rows import Row, process_message
from services.analyzer.recorder.tables import RECORDINGS
from services.analyzer.recorder.tables.feedback_submitted import FEEDBACK_SUBMITTED
from services.common.bus.coordinates import LogPosition
from services.common.store import Store
from tests.support.analyzer.recording import fresh_database
from tests.support.store import RunningStore

_GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "rows.json"
_TABLES = sorted({one.name: one for one in RECORDINGS.values()}.items())


def _envelope(sequence: int, topic: str) -> Envelope:
    return Envelope(
        f"event-{sequence}",
        f"tocsin.{topic}",
        f"example/{topic}",
        datetime(2026, 11, 22, tzinfo=UTC),
        "s",
        "t",
        sequence,
    )


def _rows(topic: str) -> list[Row]:
    return [
        process_message(
            RECORDINGS[topic],
            path.read_bytes(),
            _envelope(number, topic).to_headers(),
            LogPosition(topic=topic, partition=0, offset=number),
        )
        for number, path in enumerate(sorted((HOME / "examples" / topic).glob("*.json")))
    ]


def _plain(row: Row, topic: str) -> dict[str, Any]:
    return dict(
        json.loads(json.dumps(dict(zip(RECORDINGS[topic].table.columns, row, strict=True)), default=str))
    )


def test_rows_of_the_examples_are_those_of_the_snapshot() -> None:
    """What a change of a table or a model does to rows shows in a review. After such a
    change run this with TOCSIN_UPDATE_GOLDEN=1.
    """
    found = {topic: [_plain(row, topic) for row in _rows(topic)] for topic in sorted(RECORDINGS)}
    if os.environ.get("TOCSIN_UPDATE_GOLDEN"):
        _GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(_GOLDEN.read_text())


def test_every_counted_topic_is_recorded_but_for_the_chained_one() -> None:
    """Nobody publishes into a topic whose events the ledger cannot find."""
    counted = {topic.name for topic in TOPICS if topic.ledger}
    assert counted - set(RECORDINGS) == {"audit.entries.v1"}


@pytest.fixture(scope="module")
def database(store: RunningStore) -> str:
    """A migrated database for the tests of this file."""
    return fresh_database(store)


@pytest.fixture
async def tables(database: str) -> AsyncIterator[Store]:
    """A door to it."""
    door = Store(database)
    yield door
    await door.close()


@pytest.mark.parametrize(("name", "recording"), _TABLES, ids=[name for name, _ in _TABLES])
async def test_columns_are_those_of_the_migrated_table(tables: Store, name: str, recording: Any) -> None:
    """The same names and types, each with a comment; the store fills nothing but
    `recorded_at`.
    """
    found = await tables.query(
        "SELECT name, type, comment, default_kind FROM system.columns WHERE database = currentDatabase() "
        "AND table = {table:String} ORDER BY position",
        {"table": name},
    )
    assert {(one["name"], one["type"]) for one in found if not one["default_kind"]} == {
        (one.name, one.type) for one in recording.columns
    }
    assert [one["name"] for one in found if one["default_kind"]] == ["recorded_at"]
    assert [one["name"] for one in found if not one["comment"]] == []


@pytest.mark.parametrize("topic", sorted(RECORDINGS))
async def test_examples_are_inserted_once_however_often_they_are_sent(tables: Store, topic: str) -> None:
    """The values come back as they were; the same token again changes nothing; the
    ledger has no gap and no double.
    """
    recording, rows = RECORDINGS[topic], _rows(topic)
    for _ in range(3):
        await StoreTables(tables).insert(recording.table, rows, token=f"{topic}:0:0-{len(rows) - 1}")
    found = await tables.query(
        f"SELECT * FROM {recording.name} WHERE topic = {{topic:String}} ORDER BY offset", {"topic": topic}
    )
    names = list(recording.table.columns)
    assert [_comparable(one[name] for name in names) for one in found] == [_comparable(row) for row in rows]
    if not topic.endswith(".dlq"):
        ledger = await tables.query(
            "SELECT * FROM v_ledger WHERE source = {s:String}", {"s": f"example/{topic}"}
        )
        assert [(one["topic"], one["rows"], one["gaps"], one["doubles"]) for one in ledger] == [
            (topic, len(rows), 0, 0)
        ]


async def test_satisfaction_counts_the_newest_rating_of_each_user(store: RunningStore) -> None:
    """A changed mind counts once, as it is now, in its own hour."""
    door = Store(fresh_database(store))
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    given = [  # request, user, rating, minutes after the hour, comment
        ("r1", "u1", 1, 5, None),
        ("r2", "u1", 1, 6, None),
        ("r2", "u1", -1, 10, "wrong after all"),
        ("r3", "u2", -1, 70, None),
        ("r3", "u3", 1, 71, None),
    ]
    rows = [
        process_message(
            FEEDBACK_SUBMITTED,
            FeedbackSubmitted(
                feedback_id=str(number),
                request_id=request,
                tenant="acme",
                key_id="k",
                user=user,
                model="m",
                rating=rating,  # type: ignore[arg-type]
                comment=comment,
                submitted_at=hour + timedelta(minutes=minutes),
            ).encode(),
            _envelope(number, FEEDBACK.name).to_headers(),
            LogPosition(topic=FEEDBACK.name, partition=0, offset=number),
        )
        for number, (request, user, rating, minutes, comment) in enumerate(given)
    ]
    await StoreTables(door).insert(FEEDBACK_SUBMITTED.table, rows, token="a")
    found = await door.query(
        "SELECT hour, tenant, model, ratings, positive, satisfaction, comments FROM v_quality ORDER BY hour"
    )
    await door.close()
    assert [tuple(one.values()) for one in found] == [
        (hour, "acme", "m", 2, 1, 0.5, 1),
        (hour + timedelta(hours=1), "acme", "m", 2, 1, 0.5, 0),
    ]


def _comparable(values: Any) -> list[Any]:
    """Tuples come back as lists, times to the millisecond in UTC."""
    return [_value(one) for one in values]


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC).replace(microsecond=aware.microsecond // 1000 * 1000)
    if isinstance(value, list | tuple):
        return [_value(one) for one in value]
    return value
