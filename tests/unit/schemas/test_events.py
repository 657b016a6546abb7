"""The events that services tell each other."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.events.audit import Actor, AuditEntry
from schemas.export import HOME
from schemas.topics import BREACHES, CONTROL, FEEDBACK, FINDINGS, REQUESTS, TOPICS, Topic
from tests.support.analyzer.recording import EPOCH


def _example(topic: Topic) -> dict[str, object]:
    path: Path = min((HOME / "examples" / topic.name).glob("*.json"))
    return dict(json.loads(path.read_bytes()))


@pytest.mark.parametrize(
    ("topic", "field", "value"),
    [
        (BREACHES, "value", float("nan")),
        (BREACHES, "baseline", float("inf")),
        (FINDINGS, "score", float("-inf")),
        (FEEDBACK, "rating", 0),
        (FEEDBACK, "comment", "x" * 4_001),
    ],
)
def test_event_with_a_value_that_consumers_cannot_use_is_refused_when_it_is_made(
    topic: Topic, field: str, value: object
) -> None:
    """NaN would be written as null, which no consumer could read as a number."""
    topic.model.validate_python(_example(topic))
    with pytest.raises(ValidationError, match=field):
        topic.model.validate_python(_example(topic) | {field: value})


def test_event_from_a_newer_producer_is_read_without_the_fields_it_does_not_know() -> None:
    """A rolling upgrade leaves older consumers running for a while."""
    newer = _example(FEEDBACK) | {"mood": "sunny"}
    assert FEEDBACK.model.validate_python(newer) == FEEDBACK.model.validate_python(_example(FEEDBACK))


def _times(schema: Any) -> Iterator[dict[str, Any]]:
    """What pydantic checks of every time within a message."""
    if isinstance(schema, dict):
        if schema.get("type") == "datetime":
            yield schema
        schema = tuple(schema.values())
    if isinstance(schema, list | tuple):
        for one in schema:
            yield from _times(one)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_time_without_an_offset_is_refused_in_every_message(topic: Topic) -> None:
    """It cannot be compared with one that has an offset: whoever did would end."""
    assert all(one.get("tz_constraint") == "aware" for one in _times(topic.model.core_schema))


def test_times_of_messages_are_found_wherever_they_stand() -> None:
    """In optional fields, in parts and in kinds of a message."""
    found = {topic.name: len(list(_times(topic.model.core_schema))) for topic in TOPICS}
    assert found[CONTROL.name] >= 25
    assert found[REQUESTS.name] == found[BREACHES.name] == 3


def test_audit_entry_keeps_nulls_of_what_was_changed_and_never_repeats_a_salt() -> None:
    """That a limit was unset before is a part of the change."""
    made = [
        AuditEntry.create(
            occurred_at=EPOCH,
            actor=Actor(kind="operator", id="root"),
            action="key.changed",
            object_kind="key",
            before={"expires_at": None},
            after={"expires_at": "2027-01-01T00:00:00Z"},
        )
        for _ in range(2)
    ]
    assert AuditEntry.model_validate_json(made[0].encode()) == made[0]
    assert made[0].before == {"expires_at": None}
    assert made[0].salt != made[1].salt
    assert made[0].entry_id != made[1].entry_id
