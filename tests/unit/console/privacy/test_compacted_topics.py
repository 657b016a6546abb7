"""Compacted topics are written to for as long as an erasure needs them compacted."""

from datetime import timedelta

import pytest

from schemas.topics import TOPICS
from services.common.bus import Outgoing
from services.common.control.state import KINDS, ControlRecord, ControlState, fold
from services.console.privacy.elsewhere.compacted_topics import COMPACTED, NOBODY, CompactedTopics
from services.console.privacy.log import ErasureLog
from services.console.privacy.topics import COMPACTED_WITHIN
from tests.support.console.scene import BEGAN
from tests.unit.console.privacy.test_receipts import erasure


class Scene:
    """Topics of two partitions each, and what was written into them."""

    def __init__(self) -> None:
        self.now = BEGAN
        self.sent: list[Outgoing] = []
        self.log = ErasureLog("", "test", self._send)
        self.topics = CompactedTopics(self.log, self._send, self._partitions, lambda: self.now)

    async def _send(self, outgoing: Outgoing) -> None:
        self.sent.append(outgoing)

    async def _partitions(self, _: str) -> int:
        return 2


async def test_every_partition_of_every_compacted_topic_that_names_somebody_is_written_to() -> None:
    """An empty record of a key that is nobody's."""
    scene = Scene()
    await scene.topics.close_segments()
    assert {(one.topic, one.partition) for one in scene.sent} == {(t, p) for t in COMPACTED for p in (0, 1)}
    assert {(one.key, one.value) for one in scene.sent} == {(NOBODY, None)}
    named = {"control.changes.v1", "keys.used.v1", "security.risk.v1", "security.subjects.v1"}
    assert named | {"privacy.erasures.v1", "budgets.warned.v1"} == set(COMPACTED)
    assert set(COMPACTED) <= {one.name for one in TOPICS if one.retention is None}


@pytest.mark.parametrize(
    ("completed_ago", "needed"),
    [(None, True), (timedelta(0), True), (COMPACTED_WITHIN, True), (COMPACTED_WITHIN * 1.1, False)],
)
async def test_topics_are_written_to_until_the_last_erasure_is_surely_compacted(
    completed_ago: timedelta | None, *, needed: bool
) -> None:
    """While it is under way, and so long after it; not for ever."""
    scene = Scene()
    assert not scene.topics.is_needed()
    done = None if completed_ago is None else scene.now - completed_ago
    scene.log.put(erasure().model_copy(update={"completed_at": done}))
    assert scene.topics.is_needed() == needed


async def test_control_state_passes_the_empty_record_over() -> None:
    """It removes nothing, and is not counted as a record of a newer version."""
    before = ControlState()
    after = fold(before, [ControlRecord(NOBODY, None)])
    assert after.skipped == before.skipped
    assert all(after.entries(kind) == before.entries(kind) for kind in KINDS)
