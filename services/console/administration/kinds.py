"""Every kind of entry with what the API needs to know of it: paths, bodies, filters."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, create_model
from starlette.responses import Response

from schemas.control import (
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
)
from services.common.control.changes import SECRET_FIELDS, UNUSED_FIELDS, etag, public_fields
from services.common.http.responses import json_response
from services.console.administration import bodies
from services.console.administration.bodies import Body

PRIVATE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""Headers of what nobody in between shall keep."""


@dataclass(frozen=True)
class EntryKind:
    """A kind of entry: its name, its plural in paths, and how its id is written in a
    path; `filters` are the fields that a list can be narrowed by.
    """

    name: str
    plural: str
    path: str
    entry: type[ControlEntry]
    create: type[Body]
    change: type[Body]
    filters: tuple[str, ...] = ("tenant",)

    @property
    def view(self) -> type[BaseModel]:
        """An entry as it is shown."""
        return VIEWS[self.name]

    def entry_id(self, path: Mapping[str, str]) -> str:
        """The id in a path's parameters."""
        return "/".join(path.values())

    def location(self, entry_id: str) -> tuple[str, ...]:
        """The path of an entry below /api/admin, by its parts."""
        return (self.plural, *entry_id.split("/"))


KINDS = (
    EntryKind("tenant", "tenants", "{tenant}", TenantChanged, bodies.CreateTenant, bodies.ChangeTenant),
    EntryKind(
        "user",
        "users",
        "{tenant}/{user}",
        UserChanged,
        bodies.CreateUser,
        bodies.ChangeUser,
        ("tenant", "user"),
    ),
    EntryKind("key", "keys", "{key_id}", KeyChanged, bodies.CreateKey, bodies.ChangeKey, ("tenant", "user")),
    EntryKind("budget", "budgets", "{budget_id}", BudgetChanged, bodies.CreateBudget, bodies.ChangeBudget),
    EntryKind("model", "models", "{model}", ModelChanged, bodies.CreateModel, bodies.ChangeModel, ()),
    EntryKind(
        "route", "routes", "{tenant}/{route:path}", RouteChanged, bodies.CreateRoute, bodies.ChangeRoute
    ),
    EntryKind(
        "thresholds",
        "thresholds",
        "{tenant}",
        ThresholdsChanged,
        bodies.CreateThresholds,
        bodies.ChangeThresholds,
    ),
    EntryKind("policy", "policies", "{tenant}", PolicyChanged, bodies.CreatePolicy, bodies.ChangePolicy),
)


def _view_of(kind: EntryKind) -> type[BaseModel]:
    shown: dict[str, Any] = {
        name: (info.annotation, info)
        for name, info in kind.entry.model_fields.items()
        if name not in SECRET_FIELDS | UNUSED_FIELDS
    }
    if kind.name == "key":
        shown["last_used_at"] = (datetime | None, ...)
    return create_model(
        kind.name.capitalize(), __doc__=kind.entry.__doc__, id=(str, ...), etag=(str, ...), **shown
    )


VIEWS: Mapping[str, type[BaseModel]] = {kind.name: _view_of(kind) for kind in KINDS}


@dataclass(frozen=True)
class Display:
    """How entries are shown. `last_use` tells when a key was last used, to the minute."""

    last_use: Callable[[str], datetime | None]

    def shown(self, entry: AnyEntry) -> dict[str, Any]:
        """An entry's id, its ETag, its fields without secrets; of a key its last use."""
        shown = {"id": entry.entry_id, "etag": etag(entry), **public_fields(entry)}
        if isinstance(entry, KeyChanged):
            used_at = self.last_use(entry.key_id)
            shown["last_used_at"] = used_at.isoformat() if used_at else None
        return shown

    def response(
        self, entry: AnyEntry, clear: str = "", status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        """An entry with its ETag; `clear` is what is shown this once."""
        body = {"key": clear, **self.shown(entry)} if clear else self.shown(entry)
        return json_response(body, status, {**PRIVATE, "etag": f'"{etag(entry)}"', **(headers or {})})


def new_entry(kind: EntryKind, body: Body, tenant: str, now: datetime) -> AnyEntry:
    """The entry that a body makes; keys are made elsewhere, with their secret."""
    # Scores that nobody named are not this entry's.
    fields = body.model_dump(exclude_unset=kind.name == "thresholds") | (
        {"tenant": tenant} if "tenant" in kind.entry.model_fields else {}
    )
    if "created_at" in kind.entry.model_fields:
        fields["created_at"] = now
    if kind.name == "budget":
        fields["budget_id"] = fields["budget_id"] or f"budget-{secrets.token_hex(6)}"
    made: AnyEntry = kind.entry.model_validate(fields)  # type: ignore[assignment]
    return made


def changed_fields(body: Body, now: datetime) -> dict[str, Any]:
    """What a body changes, by the entry's own names."""
    fields = body.model_dump(exclude_unset=True)
    if "suspended" in fields:
        fields["suspended_at"] = now if fields.pop("suspended") else None
    return fields


def replaces_a_list(body: Body) -> bool:
    """Whether a change takes the place of what another may have just added to."""
    return any(isinstance(value, tuple) for value in body.model_dump(exclude_unset=True).values())
