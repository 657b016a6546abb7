"""A subject's entries of the control state, and what the bus keeps by their keys."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from schemas.control import AnyEntry
from schemas.topics import BUDGETS_WARNED
from services.common.bus import Outgoing
from services.common.control import changes
from services.common.control.changes import Change
from services.common.control.errors import NoSuchEntryError
from services.common.control.reader import ControlReader
from services.common.control.state import ControlState
from services.console.privacy.stored.rows import Counted
from services.console.privacy.subject import Subject
from services.console.privacy.topics import TOMBSTONES

Write = Callable[[Change], Awaitable[AnyEntry | None]]
"""Makes a change, as `ControlWriter.apply` does."""
_POLL_S = 0.02
_MOST_POLLS = 250
_KEPT = (
    "removed records, and the empty ones that removed them, until the bus has compacted them (`bus`); "
    "their keys' ids in `changed_by` of what they changed"
)


@dataclass(frozen=True)
class ControlErasure:
    """Removes entries for good: keys and the user are let in nowhere within a second.

    Doing it again changes nothing.
    """

    control: ControlReader
    write: Write
    send: Callable[[Outgoing], Awaitable[object]]
    partitions: Callable[[str], Awaitable[int]]

    async def erase_entries(self, subject: Subject) -> Counted:
        """Removes the subject's budgets, keys and user.

        Raises:
            BusUnavailableError: not now; some may be removed.
            ChangeRefusedError: somebody makes new ones meanwhile.
        """
        found = entries_of(self.control.state, subject)
        for kind, entry_id in found:
            if kind == "budget":
                await self._empty(BUDGETS_WARNED.name, [entry_id])
            await self._purge(kind, entry_id)
        return Counted(len(found), len(found), 0, _KEPT if found else "")

    async def erase_keyed(self, subject: Subject) -> Counted:
        """Removes the records of compacted topics that a subject's name is the key of. Of
        what there is nothing is known here: an empty record removes nothing, or one.

        Raises:
            BusUnavailableError: not now.
        """
        for tombstone in TOMBSTONES:
            await self._empty(tombstone.topic, tombstone.keys(subject))
        return Counted()

    async def _purge(self, kind: str, entry_id: str) -> None:
        try:
            await self.write(changes.purge(kind, entry_id))
        except NoSuchEntryError:
            return
        for _ in range(_MOST_POLLS):
            if self.control.state.get(kind, entry_id) is None:
                return
            await asyncio.sleep(_POLL_S)

    async def _empty(self, topic: str, keys: Iterable[str]) -> None:
        """In each partition: which one a record is in is its writer's matter."""
        for key in keys:
            for partition in range(await self.partitions(topic)):
                await self.send(Outgoing(topic, None, subject=key, tenant="", key=key, partition=partition))


def entries_of(state: ControlState, subject: Subject) -> list[tuple[str, str]]:
    """A subject's entries, deleted ones included, by kind and id; in the order in which
    they can be removed.
    """
    keys = [
        key.key_id for key in state.keys.values() if (key.tenant, key.user) == (subject.tenant, subject.user)
    ]
    bounded = {("user", subject.entry_id), *(("key", one) for one in keys)}
    budgets = [
        one.budget_id for one in state.budgets.values() if (one.subject.kind, one.subject.id) in bounded
    ]
    users = [subject.entry_id] if subject.entry_id in state.users else []
    return [
        *(("budget", one) for one in budgets),
        *(("key", one) for one in keys),
        *(("user", one) for one in users),
    ]
