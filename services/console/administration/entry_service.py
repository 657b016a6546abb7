"""What administrators do to entries, one way for all kinds."""

import builtins
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from schemas.control import AnyEntry, KeyChanged
from schemas.errors import ErrorCode
from schemas.events.audit import Actor
from services.common.clock import Clock
from services.common.control import changes
from services.common.control.changes import Change
from services.common.control.principal import Principal
from services.common.control.reader import ControlReader
from services.common.http.problems import Problem, ProblemError, malformed
from services.common.identity import create_key, create_secret
from services.console.administration.authorisation import (
    Verb,
    guarded,
    may_see,
    not_found,
    require_verb,
    tenant_for,
)
from services.console.administration.bodies import Body, CreateKey, CreateUser
from services.console.administration.kinds import EntryKind, changed_fields, new_entry, replaces_a_list
from services.console.administration.listing import Filters, page
from services.console.administration.serial_changes import SerialChanges

Tags = frozenset[str] | None

_BY_ID: Mapping[Verb, Callable[[str, str], Change]] = {
    Verb.DELETE: changes.delete,
    Verb.RESTORE: changes.restore,
    Verb.PURGE: changes.purge,
    Verb.REVOKE: lambda _, key_id: changes.revoke_key(key_id),
}


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who asks, and in whose name it is audited."""

    principal: Principal
    actor: Actor


@dataclass(frozen=True)
class EntryService:
    """Reads entries, and makes changes in administrators' names.

    `models` are the names in the models file, `aliases` their other names. Every method
    raises `ProblemError` where something is not there (404), not allowed (403) or wrong
    (400); those that change entries raise it where too many changes wait (429, 503) or
    Kafka did not confirm one (503), and `ChangeRefusedError` where the present state does
    not allow the change.
    """

    control: ControlReader
    changes: SerialChanges
    pepper: str = field(repr=False)
    models: frozenset[str]
    clock: Clock
    aliases: frozenset[str] = frozenset()

    def list(
        self, principal: Principal, kind: EntryKind, filters: Filters
    ) -> tuple[builtins.list[AnyEntry], str | None]:
        """A page of what the caller may see, and the next page's cursor.

        Raises:
            ProblemError: 403, the caller may not read this kind; 400, the cursor is none.
        """
        require_verb(principal, kind.name, Verb.READ)
        entries = self.control.state.entries(kind.name).values()
        return page((one for one in entries if may_see(principal, one)), filters)

    def get(self, principal: Principal, kind: EntryKind, entry_id: str) -> AnyEntry:
        """An entry, deleted or not.

        Raises:
            ProblemError: 403, the caller may not read this kind; 404, there is none that
                they may see.
        """
        require_verb(principal, kind.name, Verb.READ)
        found = self.control.state.get(kind.name, entry_id)
        if found is None or not may_see(principal, found):
            raise not_found(f"there is no {kind.name} {entry_id!r}")
        return found

    async def create(self, admin: Administrator, kind: EntryKind, body: Body) -> tuple[AnyEntry, str]:
        """The new entry, and what is shown once: a key in clear, else nothing."""
        require_verb(admin.principal, kind.name, Verb.CREATE)
        self._require_sane(admin.principal, kind, body)
        body = _narrowed(admin.principal, body)
        clear, entry = self._new(admin.principal, kind, body)
        change = guarded(admin.principal, kind.name, Verb.CREATE, None, changes.create(entry))
        return _there(await self._make(admin, kind, entry.entry_id, change)), clear

    async def change(
        self, admin: Administrator, kind: EntryKind, entry_id: str, body: Body, tags: Tags
    ) -> AnyEntry:
        """The entry, changed.

        Raises:
            ProblemError: 428, it replaces a list whole and names no version; and as all.
        """
        if replaces_a_list(body) and tags is None:
            raise ProblemError(
                Problem(
                    428,
                    ErrorCode.PRECONDITION_REQUIRED,
                    "This replaces a list whole, to which somebody may have added since you read it: send "
                    "the entry's ETag as If-Match.",
                )
            )
        if kind.name == "key":
            self._require_known_models(admin.principal, body)
        edit = changes.edit(kind.name, entry_id, changed_fields(body, self.clock()))
        return _there(await self._act(admin, kind, Verb.CHANGE, entry_id, edit, tags=tags))

    async def act(
        self, admin: Administrator, kind: EntryKind, verb: Verb, entry_id: str, tags: Tags
    ) -> AnyEntry | None:
        """The entry, deleted, restored or revoked; None where it is purged."""
        return await self._act(admin, kind, verb, entry_id, _BY_ID[verb](kind.name, entry_id), tags=tags)

    async def rotate(
        self, admin: Administrator, kind: EntryKind, key_id: str, overlap_s: float, tags: Tags
    ) -> tuple[AnyEntry, str]:
        """The key, and its new secret, shown once."""
        clear, kept = create_secret(key_id, pepper=self.pepper)
        rotated = changes.rotate_key(key_id, kept, overlap_s=overlap_s)
        return _there(await self._act(admin, kind, Verb.ROTATE, key_id, rotated, tags=tags)), clear

    async def _act(
        self, admin: Administrator, kind: EntryKind, verb: Verb, entry_id: str, change: Change, *, tags: Tags
    ) -> AnyEntry | None:
        self.get(admin.principal, kind, entry_id)  # what is not there needs no turn
        require_verb(admin.principal, kind.name, verb)
        matched = changes.matching(kind.name, entry_id, tags, change)
        return await self._make(
            admin, kind, entry_id, guarded(admin.principal, kind.name, verb, entry_id, matched)
        )

    async def _make(
        self, admin: Administrator, kind: EntryKind, entry_id: str, change: Change
    ) -> AnyEntry | None:
        return await self.changes.apply(admin.actor, admin.principal.tenant, (kind.name, entry_id), change)

    def _new(self, principal: Principal, kind: EntryKind, body: Body) -> tuple[str, AnyEntry]:
        named: str | None = getattr(body, "tenant", None)
        tenant = str(named) if kind.name in ("tenant", "model") else tenant_for(principal, named)
        if not isinstance(body, CreateKey):
            return "", new_entry(kind, body, tenant, self.clock())
        clear, record = create_key(
            pepper=self.pepper,
            name=body.name,
            tenant=tenant,
            now=self.clock(),
            user=body.user,
            scopes=body.scopes,
            models=body.models,
            expires_at=body.expires_at,
        )
        limits = body.limits.model_dump() if body.limits else None
        return clear, KeyChanged.model_validate({**record.model_dump(), "limits": limits})

    def _require_sane(self, principal: Principal, kind: EntryKind, body: Body) -> None:
        """What neither the body's model nor the control state knows."""
        if kind.name == "model":
            self._require_models({getattr(body, "model", "")}, self.models, "model")
        elif kind.name == "key":
            self._require_known_models(principal, body)
        if getattr(body, "budget_id", None) is not None and not principal.is_platform_admin:
            raise malformed("budget_id: leave it out; the server draws one.", "budget_id")

    def _require_known_models(self, principal: Principal, body: Body) -> None:
        """Who may use only some models gives of those alone, which is checked later."""
        if not principal.models:
            self._require_models(getattr(body, "models", None) or (), self.models | self.aliases, "models")

    def _require_models(self, named: Collection[str], known: frozenset[str], field: str) -> None:
        for unknown in (one for one in named if one not in known):
            names = ", ".join(sorted(self.models))
            raise malformed(f"{field}: the models file has no {unknown!r}; it has {names}.", field)


def _narrowed(principal: Principal, body: Body) -> Body:
    """A body that names no scopes, with those of the usual ones that its caller has."""
    if not isinstance(body, CreateKey | CreateUser) or "scopes" in body.model_fields_set:
        return body
    scopes = tuple(scope for scope in body.scopes if scope in principal.scopes)
    if not scopes:
        usual = ", ".join(body.scopes)
        raise malformed(
            f"scopes: name some that you have; of the usual ones ({usual}) you have none.", "scopes"
        )
    return body.model_copy(update={"scopes": scopes})


def _there(entry: AnyEntry | None) -> AnyEntry:
    assert entry is not None  # noqa: S101  only what is purged is not
    return entry
