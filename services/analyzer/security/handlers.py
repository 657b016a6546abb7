"""What the security role does on each event.

    inference.completed ──> inspection ──> security.observations ──> behaviour ──> security.findings
                                           (a tenant's in one order)          └──> security.risk

Looking at texts costs the most and needs no memory, so any number of analyzers share
it. What is known of users lives in the second step, whose order is the log's.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from schemas.events.security import AnyObservation, RequestObserved
from schemas.inference import InferenceCompleted
from schemas.topics import OBSERVATIONS
from services.analyzer.security.bus_state_log import in_its_time
from services.analyzer.security.inspector import Inspector
from services.analyzer.security.partition_state import PartitionState
from services.common.bus import Outgoing, not_later
from services.common.bus.subscriber import Event

Publish = Callable[[Sequence[Outgoing]], Awaitable[None]]


@dataclass
class RequestWatcher:
    """Turns ends of requests into observations. Each may be made again: the next step
    knows which it has had.
    """

    inspector: Inspector
    publish: Publish

    async def on_inference_completed(self, events: Sequence[Event[InferenceCompleted]]) -> None:
        """Looks at each request and tells what it shows.

        Raises:
            BusUnavailableError: not all observations were acknowledged.
        """
        seen = await self.inspector.inspect([_in_its_time(event) for event in events])
        await self.publish([_outgoing(one) for one in seen])


@dataclass
class BehaviourWatcher:
    """Keeps what is known of users and keys, a state a partition."""

    make_state: Callable[[int], PartitionState]
    _states: dict[int, PartitionState] = field(default_factory=dict, init=False)

    async def on_requests_observed(self, events: Sequence[Event[AnyObservation]]) -> None:
        """Takes observations into account and tells what follows.

        Raises:
            BusUnavailableError: Kafka did not take it, or did not give what was known.
        """
        by_partition: dict[int, list[Event[AnyObservation]]] = defaultdict(list)
        for event in events:
            by_partition[event.record.partition].append(event)
        for partition, some in by_partition.items():
            if partition not in self._states:
                self._states[partition] = self.make_state(partition)
            await self._states[partition].take(
                [(one.record.offset, in_its_time(one.message, one.record)) for one in some]
            )

    async def close(self) -> None:
        """Disconnects."""
        for state in self._states.values():
            await state.close()


def _in_its_time(event: Event[InferenceCompleted]) -> InferenceCompleted:
    """An end that is not from the future: what is found is told of its time."""
    at = not_later(event.message.completed_at, event.record)
    return event.message.model_copy(update={"completed_at": at})


def _outgoing(seen: RequestObserved) -> Outgoing:
    return Outgoing(OBSERVATIONS.name, seen, subject=seen.request_id, tenant=seen.tenant, key=seen.tenant)
