"""Finding requests: what is there, what is not, and what cannot be known now."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from schemas.inference import InferenceRequested, Lane, ReplyTo
from services.common.bus import Record
from services.common.bus.consumers.log_scan import TooManyLookupsError
from services.common.errors import BusUnavailableError
from services.common.http.problems import ProblemError
from services.common.requests.request_finder import RequestFinder
from services.common.requests.request_ids import new_request_id
from tests.support.bus.records import record

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def request_id(age_s: float, number: int = 1) -> str:
    """The id of a request that was made so long ago."""
    return new_request_id("chat", time_ms=NOW_MS - int(age_s * 1000), random_bits=number)


OLD, YOUNG = request_id(600), request_id(5)


@dataclass
class FakeScans:
    """What each topic holds, or how looking it up fails; who asked."""

    found: dict[str, list[Record] | Exception] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def of(self, topic: str, _partition: int) -> "FakeScan":
        return FakeScan(self, topic)


@dataclass
class FakeScan:
    """Looks one topic up."""

    scans: FakeScans
    topic: str

    async def records_of(
        self, key: bytes, _since_ms: int, *, tenant: str, within_ms: int | None = None
    ) -> Sequence[Record]:
        self.scans.asked.append((self.topic, tenant))
        found = self.scans.found.get(self.topic, [])
        if isinstance(found, Exception):
            raise found
        return [one for one in found if one.key == key]


@dataclass
class Scene:
    """A finder on a clock in the test's hands."""

    scans: FakeScans = field(default_factory=FakeScans)
    time_s: float = 0.0
    finder: RequestFinder = field(init=False)

    def __post_init__(self) -> None:
        self.finder = RequestFinder(self.scans, lambda: self.time_s)  # type: ignore[arg-type]

    async def find(self, wanted: str, tenant: str = "acme") -> InferenceRequested | None:
        """The request, if there is one."""
        found = await self.finder.find(wanted, tenant=tenant, topics=["a", "b"], now_ms=NOW_MS)
        return found[0] if found else None


def request(found_as: str, attempt: int = 1) -> Record:
    """A request as the log has it."""
    value = InferenceRequested(
        request_id=found_as,
        attempt=attempt,
        kind="chat",
        model="m",
        lane=Lane.INTERACTIVE,
        tenant="acme",
        key_id="k",
        reply_to=ReplyTo(partition=0, gateway_id="g"),
        requested_at=NOW,
        deadline=NOW + timedelta(seconds=60),
    )
    return record(value.encode(), topic="b", key=found_as.encode())


async def test_first_attempt_is_found_in_whichever_lane() -> None:
    """What cannot be read is passed over; a foreign caller is told whose it is."""
    unreadable = record(b"{", topic="b", key=OLD.encode())
    scene = Scene(FakeScans({"b": [unreadable, request(OLD), request(OLD, attempt=2)]}))
    for tenant in ("acme", "globex"):
        found = await scene.find(OLD, tenant)
        assert found is not None
        assert (found.attempt, found.tenant) == (1, "acme")
    assert scene.scans.asked == [("a", "acme"), ("b", "acme"), ("a", "globex"), ("b", "globex")]


@pytest.mark.parametrize("wanted", [OLD, request_id(61)])
async def test_absence_is_remembered_for_a_minute_and_then_looked_for_again(wanted: str) -> None:
    """Whoever asks for it again and again costs one look."""
    scene = Scene()
    for _ in range(20):
        assert await scene.find(wanted) is None
    assert len(scene.scans.asked) == 2
    scene.time_s = 61
    await scene.find(wanted)
    assert len(scene.scans.asked) == 4


async def test_absence_of_what_may_still_come_is_not_remembered() -> None:
    """It was made a moment ago."""
    scene = Scene()
    assert await scene.find(YOUNG) is None
    scene.scans.found["b"] = [request(YOUNG)]
    assert await scene.find(YOUNG) is not None


async def test_absence_that_was_not_seen_everywhere_is_not_remembered() -> None:
    """A lane could not be read."""
    scene = Scene(FakeScans({"a": BusUnavailableError("away")}))
    with pytest.raises(ProblemError):
        await scene.find(OLD)
    scene.scans.found = {"a": [request(OLD)]}
    assert await scene.find(OLD) is not None


async def test_absent_ids_take_bounded_memory() -> None:
    """The latest are remembered."""
    scene = Scene()
    for number in range(5000):
        await scene.find(request_id(600, number))
    assert len(scene.finder._absent) == 4096


@pytest.mark.parametrize(
    ("failure", "status"), [(TooManyLookupsError("too many"), 429), (BusUnavailableError("away"), 503)]
)
async def test_look_up_that_fails_says_why_unless_another_lane_has_the_request(
    failure: Exception, status: int
) -> None:
    """429 for whom it concerns, 503 for all; with when to come back."""
    scene = Scene(FakeScans({"a": failure}))
    with pytest.raises(ProblemError) as caught:
        await scene.find(OLD)
    problem = caught.value.problem
    assert problem.status == status
    assert dict(problem.headers)["retry-after"] == "1"
    scene.scans.found["b"] = [request(OLD)]
    assert await scene.find(OLD) is not None


async def test_failure_that_nobody_foresaw_is_no_absence() -> None:
    """It comes out as what it is."""
    with pytest.raises(RuntimeError):
        await Scene(FakeScans({"a": RuntimeError("a bug")})).find(OLD)
