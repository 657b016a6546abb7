"""A table of the test's own."""

import uuid
from collections.abc import Iterator

import pytest

from tests.support.store import RunningStore


@pytest.fixture
def table(store: RunningStore) -> Iterator[str]:
    """A table of two columns of the test's own."""
    name = f"h_{uuid.uuid4().hex[:8]}"
    assert (
        store.ask(
            f"CREATE TABLE {name} (a UInt32, s String DEFAULT 'd') ENGINE = MergeTree ORDER BY a"
        ).status
        == 200
    )
    yield name
    store.ask(f"DROP TABLE IF EXISTS {name}")
