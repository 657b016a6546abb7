"""What the commands that show and change control state share."""

import asyncio
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import Field, SecretStr, ValidationError

from schemas.control import AnyEntry, ControlEntry
from schemas.events.audit import Actor
from services.common.clock import utc_now
from services.common.control.access.last_uses import read_last_uses
from services.common.control.changes import Change, amend, create, edit, public_fields
from services.common.control.errors import InvalidChangeError, NoSuchEntryError
from services.common.control.reader import read_control_state
from services.common.control.state import ControlState
from services.common.control.writer import ControlWriter
from services.common.errors import BusUnavailableError
from services.common.process.secret_files import secret_of
from services.common.process.settings import CommonSettings

CONNECT_TIMEOUT_S = 8.0
"""Somebody waits at the prompt."""
_ID_PARTS = frozenset({"tenant", "route", "model"})


class KeySettings(CommonSettings):
    """What making and changing keys needs beside the bus."""

    key_pepper: SecretStr = Field(
        min_length=16,
        description="Secret under which API keys are hashed and signed, at least 16 characters, the same on "
        "every gateway.",
    )


def operator() -> Actor:
    """Who runs this command."""
    return Actor(kind="operator", id=account_name(getpass.getuser(), os.environ.get("SUDO_USER", "")))


def account_name(account: str, sudo_user: str) -> str:
    """The account, and who became it by sudo."""
    return f"{account} (sudo: {sudo_user})" if sudo_user and sudo_user != account else account


def pseudonym_key() -> str:
    """Under which requests name users; empty where this command is not told."""
    return secret_of(os.environ, "TOCSIN_PSEUDONYM_KEY") or ""


def writer(*, keys: bool = False) -> ControlWriter:
    """A writer in the name of the user who runs this command; for `keys` one that can
    sign them.

    Raises:
        ConfigError: TOCSIN_KEY_PEPPER is missing or too short.
    """
    if not keys:
        return ControlWriter(CommonSettings.load().kafka_url, operator(), connect_timeout_s=CONNECT_TIMEOUT_S)
    settings = KeySettings.load()
    pepper = settings.key_pepper.get_secret_value()
    return ControlWriter(settings.kafka_url, operator(), pepper, connect_timeout_s=CONNECT_TIMEOUT_S)


def read_state() -> ControlState:
    """The control state as it is now.

    Raises:
        BusUnavailableError: no bus within eight seconds, or it cannot be read.
    """
    url = CommonSettings.load().kafka_url
    return asyncio.run(read_control_state(url, connect_timeout_s=CONNECT_TIMEOUT_S))


def change(what: Change, *, keys: bool = False) -> AnyEntry | None:
    """Makes a change, and returns the entry as it stands now."""
    return asyncio.run(writer(keys=keys).apply(what))


def change_and_say(what: Change, said: str, *, as_json: bool, keys: bool = False) -> int:
    """Makes a change and says so: in words, or as the entry that there is now, null
    where there is none any more.
    """
    entry = change(what, keys=keys)
    if as_json:
        show_json(None if entry is None else public_fields(entry))
    else:
        print(said)
    return 0


def create_and_say(kind: type[ControlEntry], fields: dict[str, Any], said: str, *, as_json: bool) -> int:
    """Makes an entry and says so."""
    return change_and_say(create(new(kind, fields)), said, as_json=as_json)


def edit_and_say(
    kind: str, entry_id: str, fields: dict[str, Any], said: str, *, as_json: bool, keys: bool = False
) -> int:
    """Changes what is named of an entry and says so."""
    return change_and_say(edit(kind, entry_id, fields), said, as_json=as_json, keys=keys)


def set_and_say(
    kind: type[ControlEntry], entry_id: str, fields: dict[str, Any], said: str, *, as_json: bool
) -> int:
    """Changes what is named of an entry, which is made where there is none. `fields`
    hold the parts of its id too.
    """
    name = str(kind.model_fields["kind"].default)
    changed = {field: value for field, value in fields.items() if field not in _ID_PARTS}
    what = amend(name, entry_id, changed, lambda: new(kind, fields))
    return change_and_say(what, said, as_json=as_json)


def new(kind: type[ControlEntry], fields: dict[str, Any]) -> AnyEntry:
    """An entry that is not written yet, made now.

    Raises:
        InvalidChangeError: fields are not as they must be; each is named.
    """
    if "created_at" in kind.model_fields:
        fields = {"created_at": utc_now(), **fields}
    try:
        entry: AnyEntry = kind.model_validate(fields)  # type: ignore[assignment]
    except ValidationError as error:
        raise InvalidChangeError.of(error, kind) from error
    return entry


def entry(
    kind: str, entry_id: str, unmade: Callable[[str], dict[str, Any] | None] = lambda _: None
) -> dict[str, Any]:
    """An entry as it stands, deleted or not, without secrets; where there is none what
    `unmade` has.

    Raises:
        NoSuchEntryError: there is none.
    """
    found = read_state().get(kind, entry_id)
    if found is None and (there := unmade(entry_id)) is not None:
        return there
    if found is None:
        tenant, slash, _ = entry_id.partition("/")
        hint = f"; of another tenant than {tenant!r} it is with --tenant" if slash else ""
        name = {"thresholds": "entry of thresholds for", "policy": "policy of its own for"}.get(kind, kind)
        raise NoSuchEntryError(f"there is no {name} {entry_id!r}{hint}")
    return _with_last_uses(kind, [public_fields(found)])[0]


def require_tenant(tenant: str) -> None:
    """Passes a tenant that there is, deleted or not; empty stands for all.

    Raises:
        NoSuchEntryError: there is none.
        BusUnavailableError: nobody can say now.
    """
    if tenant and tenant not in read_state().entries("tenant"):
        raise NoSuchEntryError(f"there is no tenant {tenant!r}; `tocsin tenants list` shows all")


def entries(kind: str, *, with_deleted: bool = False) -> list[dict[str, Any]]:
    """All entries of a kind, the oldest first, without secrets; keys with their last
    use.
    """
    state = read_state()
    found: Iterable[AnyEntry] = state.entries(kind).values()
    shown = [public_fields(one) for one in found if with_deleted or one.deleted_at is None]
    shown.sort(key=lambda one: str(one.get("created_at", "")))
    return _with_last_uses(kind, shown)


def show_json(value: object) -> None:
    """Prints JSON on one line."""
    print(json.dumps(value))


def _with_last_uses(kind: str, shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keys with when they were last used, to the minute, in ISO 8601; with nothing where
    the topic cannot be read, as before `tocsin topics` made it.
    """
    if kind != "key":
        return shown
    try:
        uses = asyncio.run(read_last_uses(CommonSettings.load().kafka_url)).all()
    except BusUnavailableError as error:
        print(f"When keys were last used is not known: {error}", file=sys.stderr)
        uses = {}
    told = {key_id: used_at.isoformat(timespec="seconds") for key_id, used_at in uses.items()}
    return [one | {"last_used_at": told.get(one["key_id"])} for one in shown]
