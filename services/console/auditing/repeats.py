"""The same act again within a minute is counted, not written: who knocks a thousand
times leaves two entries.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

from schemas.events.audit import AuditEntry
from services.common.clock import Clock


@dataclass
class _Group:
    first: AuditEntry
    began: datetime
    more: int = 0
    latest: datetime | None = None


@dataclass
class Repeats:
    """Groups acts of the same key within `window`: the first is the caller's to write,
    the others become one entry with their number, given to `note` once the window is
    over.

    At most `most` groups at a time.
    """

    clock: Clock
    note: Callable[[AuditEntry], None]
    window: timedelta = timedelta(minutes=1)
    most: int = 64
    _groups: dict[Hashable, _Group] = field(default_factory=dict, init=False)

    def is_counted(self, key: Hashable, entry: AuditEntry) -> bool:
        """Whether this act was counted as one more of its group; else it is to be
        written, and `begin` then begins its group.
        """
        group = self._groups.get(key)
        if group is None or self._is_over(group):
            return False
        group.more, group.latest = group.more + 1, entry.occurred_at
        return True

    def begin(self, key: Hashable, entry: AuditEntry) -> bool:
        """Begins a group with an act that is written; False where there is no room."""
        former = self._groups.pop(key, None)
        if former is not None:
            self._end(former)
        if len(self._groups) >= self.most:
            self.end_windows()
        if len(self._groups) >= self.most:
            return False
        self._groups[key] = _Group(entry, self.clock())
        return True

    def end_windows(self, *, all_: bool = False) -> None:
        """Writes what was counted in windows that are over."""
        for key in [key for key, one in self._groups.items() if all_ or self._is_over(one)]:
            self._end(self._groups.pop(key))

    def _is_over(self, group: _Group) -> bool:
        return self.clock() - group.began >= self.window

    def _end(self, group: _Group) -> None:
        if group.more:
            self.note(_summed(group))


def _summed(group: _Group) -> AuditEntry:
    """One entry of all that came after the first: whose `entry_id` is its `before`."""
    return group.first.model_copy(
        update={
            "entry_id": uuid4().hex,
            "salt": uuid4().hex + uuid4().hex,
            "occurred_at": group.latest or group.began,
            "reason": f"{group.more} more like the entry before it, since {group.began:%H:%M:%S} UTC",
            "before": {"entry_id": group.first.entry_id},
            "after": {"repeated": group.more},
            "request_id": "",
        }
    )
