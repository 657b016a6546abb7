"""Everything that may hold something of a person is known to the erasure."""

import re

from schemas.topics import TOPICS, dead_letter_topic
from services.common.store.migrations import MIGRATIONS
from services.console.privacy.stored.tables import EXEMPT, PERSONAL
from services.console.privacy.topics import HOLDS, TOMBSTONES, copies, last_copy
from tests.support.console.scene import BEGAN

_CREATE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)\s*\((.*?)\n\)", re.DOTALL)
_NAMES = ("user ", "prompt_text", "response_text", "comment ", "correction ", "masked_text")


def _tables() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(MIGRATIONS.glob("*.sql")):
        for name, columns in _CREATE.findall(path.read_text()):
            found[name] = found.get(name, "") + columns
    return found


def test_every_table_is_erased_or_exempt_with_a_reason() -> None:
    """A new table fails here; so does one that is in both lists, or is gone."""
    erased = {rows.table for rows in PERSONAL}
    assert erased | EXEMPT.keys() == _tables().keys()
    assert not erased & EXEMPT.keys()
    assert all(EXEMPT.values())


def test_every_column_that_names_somebody_or_holds_a_text_is_overwritten() -> None:
    """In each table that is erased: a new text column fails here."""
    for table, columns in _tables().items():
        written = {name for rows in PERSONAL if rows.table == table for name in rows.values}
        named = {one.strip() for one in _NAMES if re.search(rf"^\s+{one}", columns, re.MULTILINE)}
        if table not in EXEMPT:
            assert named <= written, table


def test_no_text_becomes_null_with_the_text_behind_it() -> None:
    """`column = NULL` would keep it on disk."""
    values = [value for rows in PERSONAL for value in (*rows.values.values(), *rows.expired.values())]
    assert values
    assert not [value for value in values if re.fullmatch(r"\s*NULL\s*", value)]


def test_every_topic_says_what_it_holds_of_persons() -> None:
    """A new topic fails here."""
    assert HOLDS.keys() == {topic.name for topic in TOPICS}
    assert {one.topic for one in TOMBSTONES} <= {topic.name for topic in TOPICS if topic.retention is None}


def test_last_copy_is_after_the_retention_and_the_open_segment() -> None:
    """Of dead letters too; of each topic that holds something."""
    told = {name: until for name, _, until in copies(BEGAN)}
    for topic in TOPICS:
        for one in (topic, *([dead_letter_topic(topic)] if topic.dead_letters else [])):
            if HOLDS[topic.name]:
                assert told[one.name] == last_copy(one, BEGAN)
            if one.retention is not None and one.segment is not None:
                assert last_copy(one, BEGAN) > BEGAN + one.retention + one.segment
