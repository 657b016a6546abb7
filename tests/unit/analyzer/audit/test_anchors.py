"""Anchoring over a chain in memory and a topic in memory."""

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from schemas.events.audit import ChainAnchored
from services.analyzer.audit.anchors import Anchoring
from services.analyzer.audit.domain.anchoring import ChainState, interval_began
from services.analyzer.audit.domain.chain import AuditRow, Head, replace_hash
from services.common.errors import BusUnavailableError
from services.common.process import metrics
from services.common.process.health import HealthState
from tests.support.analyzer.audit_fakes import chain

_NOON = datetime(2026, 11, 27, 12, 20, tzinfo=UTC)
_NAME = "audit.entries.v1/0"


@dataclass
class _Table:
    rows: list[AuditRow]

    async def states(self, anchored: Mapping[str, int]) -> Mapping[str, ChainState]:
        found = {}
        for name in {row.chain for row in self.rows} | anchored.keys():
            rows = [row for row in self.rows if row.chain == name]
            at_anchor = {row.hash for row in rows if row.position == anchored.get(name)}
            head = max(rows, key=lambda row: row.position).head if rows else Head()
            found[name] = ChainState(head, len(rows), frozenset(at_anchor))
        return found


@dataclass
class _Topic:
    published: dict[str, bytes] = field(default_factory=dict)
    sent: int = 0
    is_away: bool = False
    anchored: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> list[ChainAnchored]:
        if self.is_away:
            raise BusUnavailableError("no broker")
        return [ChainAnchored.model_validate_json(one) for one in self.published.values()]

    async def publish(self, anchor: ChainAnchored) -> None:
        self.sent += 1
        self.published[anchor.key] = anchor.encode()
        self.anchored.set()


class _Scene:
    def __init__(self, rows: list[AuditRow]) -> None:
        self.now, self.table, self.topic, self.health = _NOON, _Table(rows), _Topic(), HealthState()
        self.anchoring = self.another()

    def another(self) -> Anchoring:
        return Anchoring(self.table, self.topic, self.health, lambda: self.now)


async def test_anchor_is_published_once_an_hour_and_only_when_the_head_has_moved() -> None:
    """Also by a process that starts anew, and by two at once: the same key and value."""
    scene = _Scene(chain(5))
    assert await scene.anchoring.attempt()
    assert await scene.another().attempt()
    scene.table.rows = chain(8)
    assert await scene.anchoring.attempt()
    assert scene.topic.sent == 1
    scene.now += timedelta(hours=1)
    first = dict(scene.topic.published)
    assert await scene.anchoring.attempt()
    second = dict(scene.topic.published)
    scene.topic.published = first  # another process had read before the first one wrote
    scene.now += timedelta(minutes=7)
    assert await scene.another().attempt()
    assert scene.topic.published == second
    assert list(second) == [f"{_NAME}@4", f"{_NAME}@7"]
    anchor = ChainAnchored.model_validate_json(second[f"{_NAME}@7"])
    assert (anchor.hash, anchor.rows, anchor.anchored_at) == (
        chain(8)[7].hash,
        8,
        datetime(2026, 11, 27, 13, tzinfo=UTC),
    )
    scene.now += timedelta(hours=1)
    assert await scene.anchoring.attempt()
    assert scene.topic.sent == 3  # the head has not moved


def _rewritten(rows: list[AuditRow]) -> list[AuditRow]:
    head, found = Head(), []
    for row in rows:
        found.append(replace_hash(dataclasses.replace(row, previous_hash=head.hash, action="key.forged")))
        head = found[-1].head
    return found


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(_rewritten(chain(9)), id="written anew as a whole"),
        pytest.param(chain(4), id="cut off before the anchor"),
        pytest.param([], id="emptied"),
        pytest.param(
            [*chain(9), replace_hash(dataclasses.replace(chain(9)[4], action="x"))], id="forked there"
        ),
        pytest.param(
            [*chain(9), replace_hash(dataclasses.replace(chain(9)[6], action="x"))], id="forked behind"
        ),
        pytest.param([*chain(9)[:2], *chain(9)[3:]], id="a row is missing"),
    ],
)
async def test_chain_that_is_not_the_anchored_one_is_anchored_no_more(spoilt: list[AuditRow]) -> None:
    """It would make what was written anew look good: critical in the log, unhealthy, and
    counted, until the chain is the right one again.
    """
    scene = _Scene(chain(5))
    assert await scene.anchoring.attempt()
    scene.now += timedelta(hours=2)
    scene.table.rows = spoilt
    before = metrics.AUDIT_ANCHORS_REFUSED._value.get()
    with capture_logs() as logged:
        assert not await scene.anchoring.attempt()
    assert scene.topic.sent == 1
    assert [(one["event"], one["log_level"]) for one in logged] == [("audit_not_anchored", "critical")]
    assert not scene.health.dependencies["anchors"].ok
    assert metrics.AUDIT_ANCHORS_REFUSED._value.get() == before + 1
    scene.table.rows = chain(9)
    assert await scene.anchoring.attempt()
    assert scene.health.dependencies["anchors"].ok
    assert scene.topic.sent == 2


async def test_anchor_is_a_line_of_the_log() -> None:
    """Whoever keeps logs elsewhere keeps anchors."""
    scene = _Scene(chain(5))
    with capture_logs() as logged:
        await scene.anchoring.attempt()
    (line,) = [one for one in logged if one["event"] == "audit_anchored"]
    assert (line["chain"], line["position"], line["hash"], line["rows"]) == (_NAME, 4, chain(5)[4].hash, 5)


async def test_anchoring_without_a_bus_says_so_and_tries_again() -> None:
    """And ends when told to."""
    scene = _Scene(chain(5))
    scene.topic.is_away = True
    assert not await scene.anchoring.attempt()
    assert "no broker" in scene.health.dependencies["anchors"].detail
    scene.topic = scene.anchoring.anchors = _Topic()
    stopping = asyncio.Event()
    scene.anchoring.interval_s = 0.1
    running = asyncio.create_task(scene.anchoring.run(stopping))
    async with asyncio.timeout(10):
        await scene.topic.anchored.wait()
        stopping.set()
        await running


def test_interval_begins_at_the_same_time_for_all_who_are_in_it() -> None:
    """From its first moment to its last."""
    begin = datetime(2026, 11, 27, 12, tzinfo=UTC)
    assert interval_began(begin, 3600) == interval_began(begin + timedelta(seconds=3599.99), 3600) == begin
    assert interval_began(begin + timedelta(hours=1), 3600) == begin + timedelta(hours=1)
