"""A call and its answer as an audit entry."""

import asyncio
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from schemas.events.audit import Actor, AuditEntry
from services.common.clock import Clock
from services.common.control.audit_entries import AuditWriter
from services.common.control.principal import Principal
from services.common.control.reader import ControlReader
from services.common.control.state import KINDS
from services.common.http.access_log import request_id_of
from services.common.http.forwarding import Network, client_of
from services.common.identity import is_pseudonym, parse_key, pseudonym
from services.console.administration.administrators import actor_of, truncated
from services.console.auditing.acts import CHANGES, GIVING, SUBJECT, USER_FINDINGS, Act, Route
from services.console.auditing.repeats import Repeats
from services.console.domain.exporting.catalogue import EXPORTED
from services.console.identity.callers import key_shown_to, principal_of

_NAMED, _WITHHELD = "tocsin.audited_object", "tocsin.withheld"
_UNTOLD = frozenset({"cursor", "confirm"})
_DENIED = frozenset({401, 403, 404, 429})
_TICK_S = 5.0
_LONGEST_VALUE = 200
_PERSONAL = ("user", *sorted({text for view in EXPORTED.values() for text in view.texts}))
"""Columns whose values are names of people, or what they wrote."""
_OF_PERSON = re.compile(rf"(\s*(?:{'|'.join(_PERSONAL)})\b\s*(?:[!<>]?=|[<>])?)(.*)", re.DOTALL)
_MOST_VALUES = 20


@dataclass
class CallRecorder:
    """Decides of each answer what the audit is told.

    An answer that gives something waits for its entry; the same again by the same
    caller within a minute is counted. A refusal is noted, and so bounded: by the
    caller's network and, where it was shown one that there is, the key.
    """

    control: ControlReader
    writer: AuditWriter
    clock: Clock
    pseudonym_key: str = field(repr=False)
    trusted: Sequence[Network] = ()
    given: Repeats = field(init=False)
    denied: Repeats = field(init=False)
    others: Repeats = field(init=False)

    def __post_init__(self) -> None:
        self.given = Repeats(self.clock, self.writer.note, most=2_000)
        self.denied = Repeats(self.clock, self.writer.note)
        self.others = Repeats(self.clock, self.writer.note, most=1)

    async def on_answer(self, scope: Scope, status: int) -> None:
        """Tells the audit of an answer that is about to be given.

        Raises:
            BusUnavailableError: it must not be given, since its entry is not written.
        """
        route = _route(scope)
        giving = GIVING.get(route)
        if giving is not None and status < 300:
            await self._give(scope, giving)
        elif status in _DENIED and (act := giving or CHANGES.get(route)):
            self._deny(scope, act, status)

    def note_end(self, scope: Scope, action: str, reason: str, after: Mapping[str, Any]) -> None:
        """Tells the audit how something ended that was answered, and began, before."""
        act, principal = GIVING.get(_route(scope)), principal_of(scope)
        if act is None or principal is None:
            return
        entry = self._entry(
            scope,
            replace(act, action=action),
            actor=actor_of(principal, self._address(scope), self.pseudonym_key),
            tenant=self._tenant(scope, act, principal),
            reason=reason,
            after=after,
        )
        self.writer.note(entry)

    async def run(self) -> None:
        """Writes what was noted and counted, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.writer.run())
            tasks.create_task(self._end_windows())

    async def close(self) -> None:
        """Writes what is left, bounded, once `run` has ended."""
        for repeats in (self.given, self.denied, self.others):
            repeats.end_windows(all_=True)
        await self.writer.close()

    async def _end_windows(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            for repeats in (self.given, self.denied, self.others):
                repeats.end_windows()

    async def _give(self, scope: Scope, act: Act) -> None:
        principal = principal_of(scope)
        if principal is None:
            return
        tenant, asked = self._tenant(scope, act, principal), _asked(scope)
        if "user" in asked:
            asked["user"] = self._pseudonymous(tenant, asked["user"])
        entry = self._entry(
            scope,
            act,
            actor=actor_of(principal, self._address(scope), self.pseudonym_key),
            tenant=tenant,
            after={"asked": asked} if asked else None,
        )
        who = entry.actor
        key = (who.kind, who.id, who.address, entry.action, entry.object_id, *sorted(asked.items()))
        if not self.given.is_counted(key, entry):
            await self.writer.record(entry)
            self.given.begin(key, entry)

    def _deny(self, scope: Scope, act: Act, status: int) -> None:
        claimed = self._claimed(scope)
        entry = self._entry(
            scope,
            act,
            actor=self._refused(scope, claimed, status),
            tenant=self._tenant_of_refused(scope, claimed),
            outcome="failed" if status == 404 else "denied",
            reason=str(status),
            after={"key": claimed} if claimed else None,
        )
        key = (act.action, entry.actor.address, entry.actor.kind, entry.actor.id, claimed, status)
        if self._is_bounded(key, entry):
            self.writer.note(entry)

    def _is_bounded(self, key: Hashable, entry: AuditEntry) -> bool:
        """Whether a refusal is the first of a group; there are only so many groups, and
        one for all that find no room.
        """
        if self.denied.is_counted(key, entry):
            return False
        if self.denied.begin(key, entry):
            return True
        others = entry.model_copy(
            update={
                "actor": Actor(kind="unknown", id=""),
                "action": "access.denied",
                "object_kind": "access",
                "object_id": "",
                "tenant": "",
                "after": None,
            }
        )
        if not self.others.is_counted(None, others):
            self.others.begin(None, others)
            self.writer.note(others)
        return False

    def _refused(self, scope: Scope, claimed: str, status: int) -> Actor:
        """Who was refused, as far as it was shown: a key that was only claimed is not
        who acts. Where a key lacks a scope (403) it was good.
        """
        address, principal = self._address(scope), principal_of(scope)
        if principal is not None:
            return actor_of(principal, address, self.pseudonym_key)
        if claimed and status == 403:
            return Actor(kind="key", id=claimed, address=address)
        return Actor(kind="unknown", id="", address=address)

    def _tenant_of_refused(self, scope: Scope, claimed: str) -> str:
        """Whose caller it was; of a claimed key, whose key."""
        principal = principal_of(scope)
        if principal is not None:
            return principal.tenant
        return self.control.state.keys[claimed].tenant if claimed else ""

    def _entry(self, scope: Scope, act: Act, *, tenant: str, **fields: Any) -> AuditEntry:
        object_id = _object_id(scope, act)
        if act.object_kind == USER_FINDINGS:
            object_id = self._pseudonymous(tenant, object_id)
        return AuditEntry.create(
            occurred_at=self.clock(),
            action=act.action,
            object_kind=act.object_kind,
            object_id=object_id,
            request_id=request_id_of(scope),
            tenant=tenant,
            **fields,
        )

    def _pseudonymous(self, tenant: str, user: str) -> str:
        """A user who was asked about, by a pseudonym: the name would be in the audit for
        ever, though the user were erased. Hidden where nobody said whose it is.
        """
        if not user or is_pseudonym(user):
            return user
        owner, slash, name = user.partition("/")
        tenant = tenant or (owner if slash else "")
        if not tenant:
            return "***"
        name = name if slash and owner == tenant else user
        return pseudonym(self.pseudonym_key, tenant=tenant, user=name)

    def _address(self, scope: Scope) -> str:
        return truncated(client_of(scope, self.trusted))

    def _claimed(self, scope: Scope) -> str:
        """The id of the key that was shown, if there is such a key: proven or not."""
        sent = parse_key(key_shown_to(Request(scope)))
        return sent.key_id if sent is not None and sent.key_id in self.control.state.keys else ""

    def _tenant(self, scope: Scope, act: Act, principal: Principal) -> str:
        """Whose data it was; empty for all tenants'."""
        if act.action.startswith(("session.", "token.")):
            return principal.tenant
        state = self.control.state
        if act.object_kind in KINDS and (found := state.get(act.object_kind, _object_id(scope, act))):
            return str(getattr(found, "tenant", "")).replace("*", "")
        if named := scope.get("path_params", {}).get("tenant") or _asked(scope).get("tenant"):
            return str(named).replace("*", "")
        return "" if principal.is_platform_admin else principal.tenant


def _route(scope: Scope) -> Route:
    return scope["method"], getattr(scope.get("route"), "path", "")


def withhold(scope: Scope) -> None:
    """Says that a call's answer is not given, so that nothing is read for it."""
    scope[_WITHHELD] = True


def was_withheld(scope: Scope) -> bool:
    """Whether a call's answer is not given."""
    return bool(scope.get(_WITHHELD))


def name_object(scope: Scope, object_id: str) -> None:
    """Says what a call is about where its path must not be in the audit."""
    scope[_NAMED] = object_id


def _object_id(scope: Scope, act: Act) -> str:
    if act.object_kind == SUBJECT:
        return str(scope.get(_NAMED, ""))
    given: Mapping[str, Any] = scope.get("path_params", {})
    return "/".join(str(given.get(name, "")) for name in act.object_parameters)[:_LONGEST_VALUE]


def _asked(scope: Scope) -> dict[str, str]:
    """The query, bounded; never a key in clear, nor in a filter a user's name or text."""
    found: dict[str, str] = {}
    for name, value in Request(scope).query_params.multi_items()[:_MOST_VALUES]:
        if name in _UNTOLD:
            continue
        told = "***" if "tsn_" in value else _impersonal(value) if name == "filter" else value
        known = found.get(name := name[:_LONGEST_VALUE])
        found[name] = (told if known is None else f"{known} and {told}")[:_LONGEST_VALUE]
    return found


def _impersonal(text: str) -> str:
    """A filter without whom it names or what it quotes, but for a pseudonym: the audit
    cannot be erased.
    """
    named = _OF_PERSON.fullmatch(text)
    return text if named is None or is_pseudonym(named[2]) else f"{named[1]}***"
