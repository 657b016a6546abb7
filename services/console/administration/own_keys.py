"""What users do with their own keys, without an administrator."""

from dataclasses import dataclass, field
from datetime import datetime

from schemas.control import AnyEntry, KeyChanged
from services.common.control import changes
from services.common.control.changes import Change, Plan
from services.common.control.principal import Principal
from services.common.control.reader import ControlReader
from services.common.control.state import ControlState
from services.common.identity import create_secret
from services.console.administration.authorisation import (
    not_found,
    require_lasting,
    require_still_good,
    require_within_rights,
)
from services.console.administration.entry_service import Administrator
from services.console.administration.serial_changes import SerialChanges


def is_own(principal: Principal, key: KeyChanged) -> bool:
    """Whether a key is its caller's: the very one that calls, or another of the same
    user. A key without a user shares nothing with other such keys.
    """
    if key.tenant != principal.tenant:
        return False
    if principal.key_id and key.key_id == principal.key_id:
        return True
    return bool(principal.user) and key.user == principal.user


@dataclass(frozen=True)
class OwnKeys:
    """A user's keys. Every method raises `ProblemError`: 404 for a key that is not theirs,
    403 for one that may more than the one that they call with.
    """

    control: ControlReader
    changes: SerialChanges
    pepper: str = field(repr=False)

    def of(self, principal: Principal, *, with_deleted: bool = False) -> list[KeyChanged]:
        """The caller's keys by their ids, deleted ones only where they are wanted."""
        found = (key for key in self.control.state.keys.values() if is_own(principal, key))
        shown = (key for key in found if with_deleted or key.deleted_at is None)
        return sorted(shown, key=lambda key: key.key_id)

    async def rotate(self, who: Administrator, key_id: str, overlap_s: float) -> tuple[AnyEntry, str]:
        """The key, and its new secret, shown once; not by a token (403)."""
        require_lasting(who.principal)
        clear, kept = create_secret(key_id, pepper=self.pepper)
        return await self._make(who, key_id, changes.rotate_key(key_id, kept, overlap_s=overlap_s)), clear

    async def revoke(self, who: Administrator, key_id: str) -> AnyEntry:
        """The key, ended."""
        return await self._make(who, key_id, changes.revoke_key(key_id))

    async def _make(self, who: Administrator, key_id: str, change: Change) -> AnyEntry:
        _own(self.control.state, who.principal, key_id)  # what is not there needs no turn
        decide = _guarded(who.principal, key_id, change)
        entry = await self.changes.apply(who.actor, who.principal.tenant, ("key", key_id), decide)
        assert entry is not None  # noqa: S101  nothing is purged here
        return entry


def _guarded(principal: Principal, key_id: str, change: Change) -> Change:
    def decide(state: ControlState, now: datetime) -> Plan:
        require_still_good(principal, state, now)
        require_within_rights(principal, _own(state, principal, key_id))
        return change(state, now)

    return decide


def _own(state: ControlState, principal: Principal, key_id: str) -> KeyChanged:
    key = state.keys.get(key_id)
    if key is None or not is_own(principal, key):
        raise not_found(f"you have no key {key_id!r}")
    return key
