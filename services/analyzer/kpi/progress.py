"""Up to when what happened is in the store, by what the recorder has committed."""

from dataclasses import dataclass, field
from datetime import datetime

from services.analyzer.kpi.domain.grid import Snapshots
from services.common.bus.administration.group_progress import GroupProgress
from services.common.bus.coordinates import TopicPartition


@dataclass
class RecordedProgress:
    """A watermark of event time: where the log ended a moment ago, the recorder is now."""

    reached: GroupProgress
    _snapshots: Snapshots[TopicPartition] = field(default_factory=Snapshots, init=False)

    async def watermark(self, now: datetime) -> datetime | None:
        """Everything that ended before this is in the store, but for what was published
        later than half a second after it had ended. None where that is not known yet.

        Raises:
            BusUnavailableError: no broker, or it did not answer.
        """
        found = await self.reached.read()
        self._snapshots.take(now, found.ends)
        return self._snapshots.watermark(found.positions)

    def is_quiet_since(self, moment: datetime) -> bool:
        """Whether nothing was published after `moment`."""
        return self._snapshots.is_quiet_since(moment)

    async def close(self) -> None:
        """Disconnects."""
        await self.reached.close()
