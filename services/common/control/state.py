"""The state that all changes lead to. Pure: a state and records give the next state."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from schemas.control import (
    CONTROL_CHANGE,
    EVERYBODY,
    AnyEntry,
    BudgetChanged,
    ControlEntry,
    KeyChanged,
    ModelChanged,
    PolicyChanged,
    RouteChanged,
    TenantChanged,
    ThresholdsChanged,
    UserChanged,
    control_key,
)
from services.common.bus.consumers.parsing import Unknown, Unreadable, parse_known

KINDS: Mapping[str, str] = {
    "key": "keys",
    "tenant": "tenants",
    "user": "users",
    "budget": "budgets",
    "model": "models",
    "route": "routes",
    "thresholds": "thresholds",
    "policy": "policies",
}
"""Each kind of entry with the field of `ControlState` that holds it."""

DEFAULT_TENANT = "default"
"""The tenant that is there without having been made."""
_UNMADE = TenantChanged(tenant=DEFAULT_TENANT, created_at=datetime.fromtimestamp(0, UTC))
"""It as it is until somebody changes it."""

DEFAULT_REQUESTS_PER_HOUR: tuple[None, int, int] = (None, 50, 10)
"""Where no administrator named any: users without findings are not limited."""

Entry = TypeVar("Entry", bound=ControlEntry)
Value = TypeVar("Value")


class ControlRecord(NamedTuple):
    """A record of the control topic. `value` None removes the entry for good."""

    key: str
    value: bytes | None


class Skipped(NamedTuple):
    """Records that changed nothing, by why.

    Of an unknown kind, from a newer version; unreadable; older than what is known.
    """

    unknown_kind: int = 0
    unreadable: int = 0
    stale: int = 0


_NONE_SKIPPED = Skipped()
_DEFAULT_POLICY, _DEFAULT_THRESHOLDS = PolicyChanged(), ThresholdsChanged()
"""Made once: they are asked for several times with each request."""


@dataclass(frozen=True, slots=True)
class ControlState:
    """Every entry by its id, soft deletions included."""

    keys: Mapping[str, KeyChanged] = field(default_factory=dict)
    tenants: Mapping[str, TenantChanged] = field(default_factory=dict)
    users: Mapping[str, UserChanged] = field(default_factory=dict)
    budgets: Mapping[str, BudgetChanged] = field(default_factory=dict)
    models: Mapping[str, ModelChanged] = field(default_factory=dict)
    routes: Mapping[str, RouteChanged] = field(default_factory=dict)
    thresholds: Mapping[str, ThresholdsChanged] = field(default_factory=dict)
    policies: Mapping[str, PolicyChanged] = field(default_factory=dict)
    skipped: Skipped = _NONE_SKIPPED

    def entries(self, kind: str) -> Mapping[str, AnyEntry]:
        """All entries of a kind; of tenants also the default one."""
        found: Mapping[str, AnyEntry] = getattr(self, KINDS[kind])
        if kind == "tenant" and DEFAULT_TENANT not in found:
            return {DEFAULT_TENANT: _UNMADE, **found}
        return found

    def get(self, kind: str, entry_id: str) -> AnyEntry | None:
        """An entry as it stands, deleted or not; None where there is none."""
        return self.entries(kind).get(entry_id)

    def is_open(self, tenant: str, user: str = "") -> bool:
        """Whether a tenant, and the user where one is named and known, may be served:
        there, neither deleted nor suspended.
        """
        known = self.tenants.get(tenant)
        if known is None:
            if tenant != DEFAULT_TENANT:
                return False
        elif known.deleted_at is not None or known.suspended_at is not None:
            return False
        person = self.users.get(f"{tenant}/{user}") if user else None
        return person is None or (person.deleted_at is None and person.suspended_at is None)

    def share_of(self, tenant: str) -> float:
        """By which a tenant's turns and places are weighed; 1 where nothing is said."""
        known = self.tenants.get(tenant)
        return 1.0 if known is None else min(max(known.share, 0.01), 100.0)

    def policy_of(self, tenant: str) -> PolicyChanged:
        """A tenant's policy: its own, else everybody's, else the defaults."""
        return _own_or_common(self.policies, tenant) or _DEFAULT_POLICY

    def inspection_ms_of(self, tenant: str) -> float | None:
        """The model's time for an opinion, where a policy names it: the tenant's own,
        else everybody's.
        """
        return _named(self.policies, tenant, lambda policy: policy.inspection_ms)

    def requests_per_hour_of(self, tenant: str) -> tuple[int | None, int, int]:
        """Of a user without findings (None: no such limit, unless an administrator named
        it), after up to three, after more.
        """
        named = _named(self.thresholds, tenant, lambda thresholds: thresholds.requests_per_hour)
        return named or DEFAULT_REQUESTS_PER_HOUR

    def has_policy(self, tenant: str) -> bool:
        """Whether an administrator set a policy, the tenant's own or everybody's."""
        return _own_or_common(self.policies, tenant) is not None

    def has_thresholds(self, tenant: str) -> bool:
        """Whether an administrator set scores, the tenant's own or everybody's."""
        return _scores(self.thresholds, tenant) is not None

    def thresholds_of(self, tenant: str) -> ThresholdsChanged:
        """The scores of a tenant: its own, else everybody's, else the defaults."""
        return _scores(self.thresholds, tenant) or _DEFAULT_THRESHOLDS


def fold(state: ControlState, records: Iterable[ControlRecord]) -> ControlState:
    """The state after further records, in the log's order."""
    building = _Building(state)
    for record in records:
        building.take(record)
    return building.finish()


class _Building:
    """Copies each table that changes once, however many records change it."""

    def __init__(self, state: ControlState) -> None:
        self._state = state
        self._tables: dict[str, dict[str, Any]] = {}
        self._skipped = state.skipped

    def take(self, record: ControlRecord) -> None:
        if record.value is None:
            self._remove(record.key)
            return
        entry = parse_known(CONTROL_CHANGE, record.value)
        if isinstance(entry, Unknown):
            self._skip("unknown_kind")
        elif isinstance(entry, Unreadable):
            self._skip("unreadable")
            self._forget_key(record.key)
        elif record.key not in _record_keys(entry):
            self._skip("unreadable")
        elif _is_stale(self._table(entry.kind).get(entry.entry_id), entry):
            self._skip("stale")
        else:
            self._table(entry.kind)[entry.entry_id] = entry

    def finish(self) -> ControlState:
        return replace(self._state, skipped=self._skipped, **self._tables)

    def _remove(self, record_key: str) -> None:
        kind, entry_id = _split(record_key)
        if kind in KINDS:
            self._table(kind).pop(entry_id, None)
        else:
            self._skip("unknown_kind")

    def _skip(self, why: str) -> None:
        self._skipped = self._skipped._replace(**{why: getattr(self._skipped, why) + 1})

    def _forget_key(self, record_key: str) -> None:
        """What was known of an entry stays where its newest record cannot be read,
        except of a key, which may have lost rights that the older record has.
        """
        kind, entry_id = _split(record_key)
        if kind == "key":
            self._table(kind).pop(entry_id, None)

    def _table(self, kind: str) -> dict[str, Any]:
        name = KINDS[kind]
        if name not in self._tables:
            self._tables[name] = dict(getattr(self._state, name))
        return self._tables[name]


def _is_stale(known: ControlEntry | None, entry: ControlEntry) -> bool:
    """Whether something as new is known. Records from before versions replace each
    other in the log's order.
    """
    return known is not None and 0 < entry.version <= known.version


def _record_keys(entry: AnyEntry) -> tuple[str, ...]:
    """The record keys under which an entry may come: API keys once went by their plain
    id.
    """
    record_key = control_key(entry.kind, entry.entry_id)
    return (record_key, entry.entry_id) if entry.kind == "key" else (record_key,)


def _split(record_key: str) -> tuple[str, str]:
    kind, colon, entry_id = record_key.partition(":")
    return (kind, entry_id) if colon else ("key", record_key)


def _named(entries: Mapping[str, Entry], tenant: str, value: Callable[[Entry], Value | None]) -> Value | None:
    """What a tenant's own entry names, else everybody's; None where neither does."""
    for one in (entries.get(tenant), entries.get(EVERYBODY)):
        if one is not None and one.deleted_at is None and (named := value(one)) is not None:
            return named
    return None


def _scores(entries: Mapping[str, ThresholdsChanged], tenant: str) -> ThresholdsChanged | None:
    return _named(entries, tenant, lambda one: one if one.scores_named else None)


def _own_or_common(entries: Mapping[str, Entry], tenant: str) -> Entry | None:
    for one in (entries.get(tenant), entries.get(EVERYBODY)):
        if one is not None and one.deleted_at is None:
            return one
    return None
