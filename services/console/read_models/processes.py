"""Who serves now, by what replicas and dispatchers said of themselves in the last
seconds. Read when asked for: following the topic would cost the time of all that passes
through it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from schemas.inference import STATUS, QueueStatus, ReplicaBeat, RequestFinished
from schemas.topics import STATUS_TOPIC
from services.common.bus import MessageReader, Record, Tail
from services.common.bus.consumers.consumer import window_since
from services.common.clock import Clock

_FINISHED = b'"kind":"finished"'
_WINDOW_MS = 3000
_MAX_RECORDS = 50_000

Said: TypeAlias = ReplicaBeat | RequestFinished | QueueStatus


@dataclass
class StatusWindow:
    """Reads the end of the status topic."""

    url: str = field(repr=False)
    name: str
    clock: Clock
    _messages: MessageReader[Said] = field(
        default_factory=lambda: MessageReader(STATUS, STATUS_TOPIC.name), init=False
    )

    async def read(self) -> dict[str, Any]:
        """The live replicas and dispatchers, by what each said last.

        Raises:
            BusUnavailableError: the topic cannot be read.
        """
        now_ms = int(self.clock().timestamp() * 1000)
        begin, end = await window_since(self._tail(), 0, now_ms - _WINDOW_MS)
        last: dict[tuple[str, str], tuple[int, ReplicaBeat | QueueStatus]] = {}
        if begin >= end:
            return describe((), now_ms)
        tail = self._tail()
        try:
            await tail.start([0], {0: max(begin, end - _MAX_RECORDS)})
            async for records in tail.read_to_end({0: end}):
                for record in records:
                    self._note(last, record)
        finally:
            await tail.close()
        return describe(last.values(), now_ms)

    def _tail(self) -> Tail:
        return Tail(self.url, f"{self.name}-status", topic=STATUS_TOPIC.name)

    def _note(
        self, last: dict[tuple[str, str], tuple[int, ReplicaBeat | QueueStatus]], record: Record
    ) -> None:
        if record.value is None or _FINISHED in record.value[:200]:
            return
        said = self._messages.read(record)
        if isinstance(said, ReplicaBeat):
            last["replica", said.replica_id] = record.timestamp, said
        elif isinstance(said, QueueStatus):
            last["dispatcher", f"{said.dispatcher_id}/{said.model}"] = record.timestamp, said


def describe(said: Iterable[tuple[int, ReplicaBeat | QueueStatus]], now_ms: int) -> dict[str, Any]:
    """The lists of the API; no request ids, which are their tenants'."""
    replicas, dispatchers = [], []
    for at_ms, one in said:
        common = {
            "model": one.model,
            "host": one.host,
            "pid": one.pid,
            "slots": one.slots,
            "heard_ms_ago": max(0, now_ms - at_ms),
        }
        if isinstance(one, ReplicaBeat):
            replicas.append(
                {"id": one.replica_id}
                | common
                | {
                    "running": len(one.running),
                    "tokens_per_s": round(one.tokens_per_s, 1),
                    "draining": one.draining,
                }
            )
        else:
            dispatchers.append(
                {"id": one.dispatcher_id}
                | common
                | {
                    "active": one.active,
                    "running": one.running,
                    "waiting": {lane.value: count for lane, count in one.waiting.items()},
                    "eta_ms": one.eta_ms,
                }
            )
    return {
        "replicas": sorted(replicas, key=lambda one: (one["model"], one["id"])),
        "dispatchers": sorted(dispatchers, key=lambda one: (one["model"], not one["active"], one["id"])),
    }
