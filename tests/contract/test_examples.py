"""Every example of the corpus through everything that consumes its topic: an example
that was once valid must stay so.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.envelope import Envelope
from schemas.export import all_topics, folder_name
from schemas.topics import Topic
from services.analyzer.recorder.rows import process_message
from services.analyzer.recorder.tables import RECORDINGS
from services.common.bus.coordinates import LogPosition

_EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
_HEADERS = Envelope(
    "e1", "tocsin.example", "example/1", datetime(2026, 11, 22, tzinfo=UTC), "subject", "acme", 0
).to_headers()


def _corpus() -> list[Any]:
    return [
        pytest.param(topic, path, id=f"{folder_name(topic)}/{path.stem}")
        for topic in all_topics()
        for path in sorted((_EXAMPLES / folder_name(topic)).glob("*.json"))
    ]


@pytest.mark.parametrize(("topic", "path"), _corpus())
def test_example_is_read_by_the_topics_model_and_written_again_unchanged(topic: Topic, path: Path) -> None:
    """What is read, written and read again is the same, and no field of the example is
    unknown.
    """
    message = topic.model.validate_json(path.read_bytes())
    assert topic.model.validate_json(message.encode()) == message
    _assert_known(json.loads(path.read_bytes()), topic.model.dump_python(message, mode="json"), path.stem)


@pytest.mark.parametrize(("topic", "path"), [one for one in _corpus() if one.values[0].name in RECORDINGS])
def test_example_becomes_a_row_of_the_recorder(topic: Topic, path: Path) -> None:
    """With a value for every column."""
    recording = RECORDINGS[topic.name]
    row = process_message(
        recording, path.read_bytes(), _HEADERS, LogPosition(topic=topic.name, partition=0, offset=7)
    )
    assert len(row) == len(recording.table.columns)


@pytest.mark.parametrize("topic", all_topics(), ids=folder_name)
def test_topic_has_an_example_of_each_of_its_messages(topic: Topic) -> None:
    """A new message needs an example."""
    schema = topic.model.json_schema()
    kinds = set(schema.get("discriminator", {}).get("mapping", {"": ""}))
    examples = [json.loads(path.read_bytes()) for path in (_EXAMPLES / folder_name(topic)).glob("*.json")]
    assert examples
    assert kinds <= ({one.get("kind", "") for one in examples} | {""})


def _assert_known(given: Any, read: Any, path: str) -> None:
    """Each key of the example is a field that the model keeps."""
    if isinstance(given, dict) and isinstance(read, dict):
        assert given.keys() <= read.keys(), path
        for key in given:
            _assert_known(given[key], read[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(read, list):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            _assert_known(one, other, f"{path}[{number}]")
