"""What the role does on each event, and what it tells of itself."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from schemas.events.security import RequestObserved
from schemas.topics import OBSERVATIONS
from services.analyzer.security.child import Looking
from services.analyzer.security.domain.inspection import Wanted
from services.analyzer.security.domain.population import Rules
from services.analyzer.security.handlers import BehaviourWatcher, RequestWatcher
from services.analyzer.security.inspector import Inspector
from services.analyzer.security.partition_state import PartitionState
from services.common.bus import Outgoing
from services.common.bus.subscriber import Event
from services.common.errors import BusUnavailableError
from tests.support.analyzer.audit_fakes import envelope
from tests.support.analyzer.recording import completed
from tests.support.analyzer.security import NOON, THRESHOLDS, FakeLog, FakeLooking, attack
from tests.support.bus.records import record
from tests.unit.analyzer.security.test_inspection import ended, verdict

_APPENDED_MS = 4_000_000_000_000


def _events(messages: Sequence[object], appended_ms: int = _APPENDED_MS) -> list[Event[object]]:
    return [
        Event(one, envelope(place), record(b"", offset=place, timestamp_ms=appended_ms))
        for place, one in enumerate(messages)
    ]


def _inspector() -> Inspector:
    return Inspector(
        lambda _tenant: Wanted(prompts=True, answers=True, thresholds=THRESHOLDS),
        1.0,
        FakeLooking(Looking(verdict)).child,
    )


async def test_ends_become_observations_in_their_tenants_order() -> None:
    """A tenant's lie in one partition, in the order of the ends."""
    sent: list[Outgoing] = []

    async def publish(records: Sequence[Outgoing]) -> None:
        sent.extend(records)

    inspector = _inspector()
    await inspector.start()
    ends = [ended(("user", "an attack"), tenant="b"), *[completed(n, tenant="a") for n in range(2, 5)]]
    await RequestWatcher(inspector, publish).on_inference_completed(_events(ends))  # type: ignore[arg-type]
    await inspector.close()
    assert [(one.topic, one.key, one.tenant, one.subject) for one in sent] == [
        (OBSERVATIONS.name, one.tenant, one.tenant, one.request_id) for one in ends
    ]
    first = sent[0].value
    assert isinstance(first, RequestObserved)
    assert len(first.findings) == 1


@pytest.mark.parametrize("years", [0.01, 1, 900])
async def test_end_from_the_future_is_of_the_time_when_it_came_to_the_log(years: float) -> None:
    """A clock that is wrong puts no finding into next year."""
    sent: list[Outgoing] = []

    async def publish(records: Sequence[Outgoing]) -> None:
        sent.extend(records)

    inspector = _inspector()
    await inspector.start()
    early = ended(("user", "an attack"))
    late = early.model_copy(update={"completed_at": NOON + timedelta(days=365 * years)})
    came_ms = int(NOON.timestamp() * 1000) + 5
    events = [*_events([late], came_ms), *_events([late.model_copy(update={"completed_at": NOON})], came_ms)]
    await RequestWatcher(inspector, publish).on_inference_completed(events)  # type: ignore[arg-type]
    await inspector.close()
    came = NOON + timedelta(milliseconds=5)
    seen = [one.value for one in sent if isinstance(one.value, RequestObserved)]
    assert [one.at for one in seen] == [came, NOON]
    assert [found.finding.found_at for one in seen for found in one.findings] == [came, NOON]


@pytest.mark.parametrize("whose", ["u_anna", "u_other"])
async def test_observation_from_the_future_lets_nothing_wane(whose: str) -> None:
    """Neither what is suspected of others nor, from then on, of its own user."""
    log = FakeLog()
    ours = [attack(n, at_s=float(n)) for n in range(3)]
    odd = attack(99, user=whose, at_s=86400.0 * 400)
    after = [attack(n, at_s=float(n)) for n in range(100, 103)]
    watcher = BehaviourWatcher(
        lambda partition: PartitionState(
            partition, log.state_log(), Rules(), lambda _: THRESHOLDS, checkpoint_every=2
        )
    )
    await watcher.on_requests_observed(_events([*ours, odd, *after], int(NOON.timestamp() * 1000) + 200_000))  # type: ignore[arg-type]
    await watcher.close()
    risk = log.risks["acme/u_anna"]
    assert risk is not None
    assert risk.findings >= 6
    assert risk.assessed_at <= NOON + timedelta(seconds=200)


async def test_observations_that_are_not_acknowledged_are_made_again() -> None:
    """The subscriber gives the ends again: nothing is passed over."""

    async def publish(_records: Sequence[Outgoing]) -> None:
        raise BusUnavailableError("away")

    inspector = _inspector()
    with pytest.raises(BusUnavailableError):
        await RequestWatcher(inspector, publish).on_inference_completed(_events([completed(1)]))  # type: ignore[arg-type]
    await inspector.close()


async def test_findings_are_counted_by_category_and_level_once_they_are_told() -> None:
    """A category that this version does not know has a label all the same."""
    log = FakeLog()
    odd = attack(1)
    finding = odd.findings[0].finding.model_copy(update={"category": "user's own words"})
    odd = odd.model_copy(update={"findings": (odd.findings[0].model_copy(update={"finding": finding}),)})
    log.add([attack(0), odd])
    watcher = BehaviourWatcher(
        lambda _n: PartitionState(0, log.state_log(), Rules(), lambda _tenant: THRESHOLDS)
    )
    before = [_threats("jailbreak"), _threats("other")]
    await watcher.on_requests_observed(_events([one for _, one in log.observations]))  # type: ignore[arg-type]
    assert [_threats("jailbreak") - before[0], _threats("other") - before[1]] == [1, 1]
    assert REGISTRY.get_sample_value("tocsin_security_subjects", {"partition": "0"}) == 2
    await watcher.close()


def _threats(category: str) -> float:
    labels = {"category": category, "level": "high"}
    return REGISTRY.get_sample_value("security_threats_total", labels) or 0.0
