"""Coming back: what is found in the log, what is not, and what cannot be known now."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.inference import InferenceRequested, Lane, LogPosition, ReplyTo, StreamTaken
from schemas.topics import REPLIES
from services.common.bus import Record
from services.common.bus.consumers.log_scan import TooManyLookupsError
from services.common.errors import BusUnavailableError
from services.common.http.problems import ProblemError
from services.common.requests.request_finder import RequestFinder
from services.common.requests.request_ids import new_request_id
from services.gateway.openai.chunks import EventId
from services.gateway.streams.reattach import Reattacher
from services.gateway.streams.state import Phase
from tests.support.bus.records import record
from tests.unit.gateway.streams.stage import DONE, Stage, chunk, lost

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
REQUEST_ID = new_request_id("chat", time_ms=NOW_MS - 5_000, random_bits=7)
ORIGIN = LogPosition(topic="lane", partition=0, offset=4)


@dataclass
class Caller:
    """Whoever asks."""

    tenant: str = "acme"


@dataclass
class FakeScans:
    """What each topic holds, or how looking it up fails."""

    found: dict[str, list[Record] | Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def of(self, topic: str, _partition: int) -> "FakeScan":
        """The scan of a topic."""
        return FakeScan(self, topic)


@dataclass
class FakeScan:
    """Looks one topic up."""

    scans: FakeScans
    topic: str

    async def records_of(
        self, _key: bytes, _since_ms: int, *, tenant: str, within_ms: int | None = None
    ) -> Sequence[Record]:
        """What the topic holds."""
        self.scans.asked.append(self.topic)
        found = self.scans.found.get(self.topic, [])
        if isinstance(found, Exception):
            raise found
        return found


@dataclass
class FakeReaders:
    """The stage's reader for every partition."""

    stage: Stage

    async def reader_of(self, _partition: int) -> Any:
        """The reader."""
        return self.stage.reader


class FakeClock:
    """The broker's time."""

    def now(self) -> datetime:
        """Noon."""
        return NOW


def request(**more: Any) -> InferenceRequested:
    """A request as it was published."""
    return InferenceRequested(
        request_id=REQUEST_ID,
        kind="chat",
        model="m",
        lane=Lane.INTERACTIVE,
        tenant="acme",
        key_id="k",
        stream=True,
        reply_to=ReplyTo(partition=0, gateway_id="g"),
        requested_at=NOW,
        deadline=NOW + timedelta(seconds=60),
    ).model_copy(update=more)


def reattacher(stage: Stage, **found: list[Record] | Exception) -> Reattacher:
    """One that looks into the lanes `lane` and `other`, and into the replies."""
    stage.publisher.bus_monitor, stage.publisher.bus_clock = stage.bus_monitor, FakeClock()  # type: ignore[attr-defined]
    stage.bus_monitor.topics = ["lane", "other"]
    scans = FakeScans({REPLIES.name if topic == "replies" else topic: one for topic, one in found.items()})
    return Reattacher(
        RequestFinder(scans, lambda: stage.time_s),  # type: ignore[arg-type]
        FakeReaders(stage),  # type: ignore[arg-type]
        stage.registry,
        stage.publisher,  # type: ignore[arg-type]
        "gateway",
        lambda: stage.time_s,
    )


async def status_of(finding: Any) -> int:
    """The status of a problem; 200 where there is none."""
    try:
        await finding
    except ProblemError as error:
        return error.problem.status
    return 200


async def test_first_attempt_is_found_among_later_ones_and_what_cannot_be_read(stage: Stage) -> None:
    """It has the whole request, and the others need not have."""
    records = [
        record(b"{", topic="lane", offset=3),
        record(request().encode(), topic="lane", offset=4),
        record(request(attempt=2).encode(), topic="lane", offset=5),
    ]
    found, origin = await reattacher(stage, lane=records).find(REQUEST_ID, Caller())  # type: ignore[arg-type]
    assert (found.attempt, origin) == (1, ORIGIN)


@pytest.mark.parametrize("failure", [BusUnavailableError("timed out"), BusUnavailableError("away")])
async def test_lane_that_cannot_be_read_is_503_unless_another_has_the_request(
    stage: Stage, failure: Exception
) -> None:
    """Nobody claims that there is nothing where nobody could look."""
    assert await status_of(reattacher(stage, lane=failure).find(REQUEST_ID, Caller())) == 503  # type: ignore[arg-type]
    there = [record(request().encode(), topic="other")]
    assert await status_of(reattacher(stage, lane=failure, other=there).find(REQUEST_ID, Caller())) == 200  # type: ignore[arg-type]


@pytest.mark.parametrize("time_ms", [0, NOW_MS - 16 * 60_000, NOW_MS + 3_600_000, 2**48 - 1])
async def test_id_of_a_time_that_the_log_cannot_hold_is_404_without_a_look(
    stage: Stage, time_ms: int
) -> None:
    """Too old, yet to come, beyond every calendar."""
    looking = reattacher(stage)
    assert (
        await status_of(looking.find(new_request_id("chat", time_ms=time_ms, random_bits=1), Caller())) == 404
    )  # type: ignore[arg-type]
    assert looking.finder.scans.asked == []  # type: ignore[attr-defined]


async def test_request_of_another_tenant_is_404(stage: Stage) -> None:
    """As if it were not there."""
    there = [record(request().encode(), topic="lane")]
    assert await status_of(reattacher(stage, lane=there).find(REQUEST_ID, Caller("other"))) == 404  # type: ignore[arg-type]


async def test_joined_stream_has_the_history_and_tells_former_followers(stage: Stage) -> None:
    """Whoever served the client before reads that it does no more."""
    history = [record(chunk(0, "a").encode(), offset=7), record(chunk(1, "b", end=DONE).encode(), offset=9)]
    joined = await reattacher(stage, replies=history).join(request(), ORIGIN, after=None, traceparent=None)
    assert [arrival.offset for arrival in await joined.take(0)] == [7, 9]
    assert joined.state.phase is Phase.ENDED
    (taken,) = stage.publisher.told
    assert isinstance(taken, StreamTaken)
    joined.hear(10, taken, 0, size_bytes=10)
    assert not joined.taken


async def test_history_that_needs_another_attempt_has_it_asked_for(stage: Stage) -> None:
    """With the request's own place as the former one, where no record says better."""
    history = [record(chunk(0, "a").encode(), offset=7), record(lost().encode(), offset=9)]
    await reattacher(stage, replies=history).join(request(), ORIGIN, after=None, traceparent=None)
    (again,) = stage.publisher.asked
    assert (again.attempt, again.delivered[0].text) == (2, "a")


@pytest.mark.parametrize(
    ("after", "records", "status"),
    [
        (EventId(1, 7, 0), [record(chunk(0).encode(), offset=7)], 400),
        (EventId(0, 10**17, 0), [record(chunk(0).encode(), offset=7)], 400),
        (None, [record(chunk(3).encode(), offset=7)], 404),
        (None, BusUnavailableError("timed out"), 503),
        (None, TooManyLookupsError("too many"), 429),
    ],
)
async def test_stream_that_cannot_be_joined_says_why_and_leaves_nobody_followed(
    stage: Stage, after: EventId | None, records: Any, status: int
) -> None:
    """Another partition's event, one that never was, a lost beginning, an unread log."""
    joining = reattacher(stage, replies=records).join(request(), ORIGIN, after=after, traceparent=None)
    assert await status_of(joining) == status
    assert stage.registry.followed == 0
    assert not stage.reader._reply_streams
