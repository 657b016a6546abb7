"""What a change comes to, decided against the present state. Pure.

A plan holds the records to write and what the audit is told. Each function raises
`NoSuchEntryError`, `ConflictError` or `InvalidChangeError` where the change cannot be
made.
"""

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from schemas.control import SCORES, AnyEntry, BudgetChanged, KeyChanged, ModelChanged, ThresholdsChanged
from services.common.control.errors import (
    ConflictError,
    InvalidChangeError,
    NoSuchEntryError,
    StaleError,
)
from services.common.control.state import DEFAULT_TENANT, KINDS, ControlState
from services.common.control.validation import require_valid
from services.common.errors.value_rules import unknown_field

SECRET_FIELDS = frozenset({"secret_hmac", "previous_secret_hmac", "record_mac"})
"""What nobody is shown."""
UNUSED_FIELDS = frozenset({"replaced_by"})
"""What records have and nothing sets."""
_SHOWN = 5
_FIXED = frozenset(
    {
        *("kind", "key_id", "tenant", "user", "budget_id", "model", "route", "created_at"),
        *("version", "changed_at", "changed_by", "deleted_at", "revoked_at", "replaced_by"),
        *("scores_named", "previous_secret_until", *SECRET_FIELDS),
    }
)


VERBS = ("created", "changed", "deleted", "restored", "purged", "revoked", "rotated")
"""What is done to entries, as the audit calls it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of one entry: `after` None removes it for good. `verb` is one of VERBS."""

    kind: str
    entry_id: str
    verb: str
    before: AnyEntry | None
    after: AnyEntry | None

    @property
    def tenant(self) -> str:
        """Whose entry it is; empty for the whole platform's."""
        tenant = str(getattr(self.after or self.before, "tenant", ""))
        return "" if tenant == "*" else tenant


Change = Callable[[ControlState, datetime], Plan]
"""A change still to be decided: the state and the time give its plan."""


def etag(entry: AnyEntry) -> str:
    """What changes with every change of an entry, and never comes back."""
    changed_ms = int(entry.changed_at.timestamp() * 1000) if entry.changed_at else 0
    return f"{entry.version}-{changed_ms}"


def matching(kind: str, entry_id: str, tags: Collection[str] | None, change: Change) -> Change:
    """A change of these versions of an entry only, by their ETags; of any with `*`, or
    where `tags` is None. What there is not is left to the change.
    """

    def decide(state: ControlState, now: datetime) -> Plan:
        known = state.get(kind, entry_id)
        if tags is not None and "*" not in tags and known is not None and etag(known) not in tags:
            raise StaleError(
                f"the {kind} {entry_id!r} was changed since you read it: its ETag is {etag(known)}; read it "
                "again"
            )
        return change(state, now)

    return decide


def public_fields(entry: AnyEntry) -> dict[str, Any]:
    """An entry as it may be shown and audited: without hashes of secrets, and what is
    not used.
    """
    return entry.model_dump(mode="json", exclude=set(SECRET_FIELDS | UNUSED_FIELDS))


def create(entry: AnyEntry) -> Change:
    """Makes an entry that is not there yet."""

    def decide(state: ControlState, _now: datetime) -> Plan:
        known = state.get(entry.kind, entry.entry_id)
        if known is not None:
            verb, how = ("restore", "was deleted") if known.deleted_at else ("set", "is there already")
            does = "takes that back" if known.deleted_at else "changes it"
            raise ConflictError(
                f"the {entry.kind} {entry.entry_id!r} {how}; "
                f"`{command(verb, entry.kind, entry.entry_id)}` {does}"
            )
        require_valid(state, entry)
        return Plan(entry.kind, entry.entry_id, "created", None, _successor(None, entry))

    return decide


def put(entry: AnyEntry) -> Change:
    """Makes an entry, or replaces it whole."""

    def decide(state: ControlState, _now: datetime) -> Plan:
        known = state.get(entry.kind, entry.entry_id)
        require_valid(state, entry)
        verb = "created" if known is None else "changed"
        return Plan(entry.kind, entry.entry_id, verb, known, _successor(known, entry))

    return decide


def edit(kind: str, entry_id: str, fields: Mapping[str, Any]) -> Change:
    """Changes some fields of an entry. Its ids and its history stay.

    As RFC 7396 wants it: of an object only what is named, None takes it away; lists are
    replaced whole.
    """

    def decide(state: ControlState, _now: datetime) -> Plan:
        known = _require_live(state, kind, entry_id)
        for field in fields:
            if field not in (names := [one for one in type(known).model_fields if one not in _FIXED]):
                raise InvalidChangeError(field, f"{unknown_field(field, names)} that can be changed")
        changed = _checked(known, fields)
        require_valid(state, changed)
        return Plan(kind, entry_id, "changed", known, _successor(known, changed))

    return decide


def amend(kind: str, entry_id: str, fields: Mapping[str, Any], make: Callable[[], AnyEntry]) -> Change:
    """Changes some fields of an entry; where there is none, what `make` gives is made."""

    def decide(state: ControlState, now: datetime) -> Plan:
        change = create(make()) if state.get(kind, entry_id) is None else edit(kind, entry_id, fields)
        return change(state, now)

    return decide


def delete(kind: str, entry_id: str) -> Change:
    """Deletes an entry so that it can be restored.

    A model that is switched off must be switched on first: without its entry it is as
    the models file has it, which is on.
    """

    def decide(state: ControlState, now: datetime) -> Plan:
        known = _require_live(state, kind, entry_id)
        _require_switched_on(known)
        deleted = known.model_copy(update={"deleted_at": now})
        return Plan(kind, entry_id, "deleted", known, _successor(known, deleted))

    return decide


def restore(kind: str, entry_id: str) -> Change:
    """Takes a deletion back."""

    def decide(state: ControlState, _now: datetime) -> Plan:
        known = _require_known(state, kind, entry_id)
        if known.deleted_at is None:
            is_revoked = isinstance(known, KeyChanged) and known.revoked_at is not None
            more = "; it is revoked, which is for good: `tocsin keys create` makes another"
            raise ConflictError(f"the {kind} {entry_id!r} is not deleted{more if is_revoked else ''}")
        restored = known.model_copy(update={"deleted_at": None})
        require_valid(state, restored)
        return Plan(kind, entry_id, "restored", known, _successor(known, restored))

    return decide


def purge(kind: str, entry_id: str) -> Change:
    """Removes an entry for good.

    A tenant must be empty and a user without keys, so that none of them is left to a
    later one of the same name. What the entry shuts stays shut: a user who is unknown
    may be served, so a suspended or deleted one is kept as long as there are keys.
    """

    def decide(state: ControlState, _now: datetime) -> Plan:
        known = _require_known(state, kind, entry_id)
        if referring := list(_referring(state, known)):
            raise ConflictError(f"the {kind} {entry_id!r} still has {_to_be_purged(referring)}")
        _require_switched_on(known)
        if kind == "tenant" and entry_id == DEFAULT_TENANT and not state.is_open(entry_id):
            raise ConflictError(
                f"the tenant {entry_id!r} is shut, and would be open again without its entry; "
                f"`tocsin tenants restore {entry_id}` and `resume {entry_id}` say so plainly"
            )
        return Plan(kind, entry_id, "purged", known, None)

    return decide


def revoke_key(key_id: str) -> Change:
    """Ends a key and its former secret; one that is revoked already stays as it is, and
    nothing is written.
    """

    def decide(state: ControlState, now: datetime) -> Plan:
        known = _require_live(state, "key", key_id)
        if isinstance(known, KeyChanged) and known.revoked_at is not None:
            return Plan("key", key_id, "revoked", known, known)
        fields = {"revoked_at": now, "previous_secret_hmac": "", "previous_secret_until": None}
        return Plan("key", key_id, "revoked", known, _successor(known, known.model_copy(update=fields)))

    return decide


def rotate_key(key_id: str, new_secret_hmac: str, *, overlap_s: float = 0) -> Change:
    """Gives a key another secret; the present one is good for `overlap_s` more, any
    before it no longer.
    """

    def decide(state: ControlState, now: datetime) -> Plan:
        known = _require_live(state, "key", key_id)
        assert isinstance(known, KeyChanged)  # noqa: S101  the state's keys are keys
        if known.revoked_at is not None or (known.expires_at is not None and known.expires_at <= now):
            raise ConflictError(f"the key {key_id!r} was revoked or has expired; make another")
        fields = {
            "secret_hmac": new_secret_hmac,
            "previous_secret_hmac": known.secret_hmac if overlap_s > 0 else "",
            "previous_secret_until": now + timedelta(seconds=overlap_s) if overlap_s > 0 else None,
        }
        return Plan("key", key_id, "rotated", known, _successor(known, known.model_copy(update=fields)))

    return decide


def switch_model(model: str, *, enabled: bool, known: Collection[str]) -> Change:
    """Switches a model on or off; prices and limits stay."""

    def decide(state: ControlState, now: datetime) -> Plan:
        entry = state.models.get(model)
        if entry is None and model not in known:
            raise NoSuchEntryError(f"there is no model {model!r}; the models file has {', '.join(known)}")
        wanted = (entry or ModelChanged(model=model)).model_copy(
            update={"enabled": enabled, "deleted_at": None}
        )
        return put(wanted)(state, now)

    return decide


def add_price(model: str, price: Mapping[str, Any]) -> Change:
    """Adds a price to a model's history; one from the same day takes its place."""

    def decide(state: ControlState, now: datetime) -> Plan:
        entry = state.models.get(model) or ModelChanged(model=model)
        added = _checked(ModelChanged(model=model), {"prices": [price]})
        assert isinstance(added, ModelChanged)  # noqa: S101  as its argument is
        (new,) = added.prices
        prices = [one for one in entry.prices if one.valid_from != new.valid_from] + [new]
        ordered = tuple(sorted(prices, key=lambda one: one.valid_from))
        wanted = entry.model_copy(update={"prices": ordered})
        return amend("model", model, {"prices": ordered}, lambda: wanted)(state, now)

    return decide


def _successor(known: AnyEntry | None, entry: AnyEntry) -> AnyEntry:
    return entry.model_copy(update={"version": known.version + 1 if known else 1})


def _checked(known: AnyEntry, fields: Mapping[str, Any]) -> AnyEntry:
    if isinstance(known, ThresholdsChanged) and fields.keys() & SCORES:
        fields = {**fields, "scores_named": True}
    try:
        return type(known).model_validate(_merged(known.model_dump(), fields))
    except ValidationError as error:
        raise InvalidChangeError.of(error, type(known)) from error


def _merged(known: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **known,
        **{
            name: _merged(known.get(name) or {}, value) if isinstance(value, Mapping) else value
            for name, value in fields.items()
        },
    }


def _require_known(state: ControlState, kind: str, entry_id: str) -> AnyEntry:
    known = state.get(kind, entry_id)
    if known is None:
        raise NoSuchEntryError(f"there is no {kind} {entry_id!r}")
    return known


def _require_live(state: ControlState, kind: str, entry_id: str) -> AnyEntry:
    known = _require_known(state, kind, entry_id)
    if known.deleted_at is not None:
        raise NoSuchEntryError(f"the {kind} {entry_id!r} was deleted; restore it first")
    return known


def command(verb: str, kind: str, entry_id: str) -> str:
    """The command that does this to an entry."""
    owner, slash, name = entry_id.partition("/")
    subject = f"--tenant {shlex.quote(owner)} {shlex.quote(name)}" if slash else shlex.quote(entry_id)
    return f"tocsin {KINDS[kind]} {verb} {subject}"


def _referring(state: ControlState, entry: AnyEntry) -> Iterator[AnyEntry]:
    """What would be without its owner or its subject, deleted or not."""
    for name in KINDS:
        yield from (other for other in state.entries(name).values() if _refers(other, entry))


def _to_be_purged(entries: Sequence[AnyEntry]) -> str:
    """What stands in a purge's way, and how the first of it is removed."""
    named = ", ".join(f"the {one.kind} {one.entry_id!r}" for one in entries[:_SHOWN])
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    first = entries[0]
    return f"{named}{more}; purge them first: `{command('purge', first.kind, first.entry_id)}`"


def _refers(other: AnyEntry, entry: AnyEntry) -> bool:
    """Whether it belongs to this tenant, is a key of this user, or limits what this
    key, user or model may spend.
    """
    if entry.kind == "tenant":
        return other.kind != "tenant" and getattr(other, "tenant", "") == entry.entry_id
    if isinstance(other, KeyChanged) and entry.kind == "user":
        return f"{other.tenant}/{other.user}" == entry.entry_id
    return isinstance(other, BudgetChanged) and (other.subject.kind, other.subject.id) == (
        entry.kind,
        entry.entry_id,
    )


def _require_switched_on(entry: AnyEntry) -> None:
    """Refuses to take away the entry of a model that is switched off.

    Raises:
        ConflictError: without it the model would be served again.
    """
    if isinstance(entry, ModelChanged) and not entry.enabled and entry.deleted_at is None:
        raise ConflictError(
            f"the model {entry.model!r} is switched off, and would be served again without its entry; "
            f"`tocsin models enable {entry.model}` says so plainly"
        )
