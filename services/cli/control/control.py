"""What the commands that show and change control state share."""

import asyncio
import getpass
import json
import sys
from collections.abc import Iterable
from typing import Any

from pydantic import Field, SecretStr

from schemas.control import AnyEntry
from schemas.events.audit import Actor
from services.common.control.access.key_uses import read_last_uses
from services.common.control.changes import Change, public_fields
from services.common.control.errors import NoSuchEntryError
from services.common.control.reader import read_control_state
from services.common.control.writer import ControlWriter
from services.common.errors import BusUnavailableError
from services.common.process.settings import CommonSettings


class KeySettings(CommonSettings):
    """What making and changing keys needs beside the bus."""

    key_pepper: SecretStr = Field(
        min_length=16,
        description="Secret under which API keys are hashed and signed, at least 16 characters, the same on "
        "every gateway.",
    )


def writer(*, keys: bool = False) -> ControlWriter:
    """A writer in the name of the user who runs this command; for `keys` one that can
    sign them.

    Raises:
        ConfigError: TOCSIN_KEY_PEPPER is missing or too short.
    """
    actor = Actor(kind="operator", id=getpass.getuser())
    if not keys:
        return ControlWriter(CommonSettings.load().kafka_url, actor)
    settings = KeySettings.load()
    return ControlWriter(settings.kafka_url, actor, settings.key_pepper.get_secret_value())


def change(what: Change, *, keys: bool = False) -> AnyEntry | None:
    """Makes a change, and returns the entry as it stands now."""
    return asyncio.run(writer(keys=keys).apply(what))


def change_and_say(what: Change, said: str, *, as_json: bool) -> int:
    """Makes a change and says so: in words, or as the entry that there is now, null
    where there is none any more.
    """
    entry = change(what)
    if as_json:
        show_json(None if entry is None else public_fields(entry))
    else:
        print(said)
    return 0


def entry(kind: str, entry_id: str) -> dict[str, Any]:
    """An entry as it stands, deleted or not, without secrets.

    Raises:
        NoSuchEntryError: there is none.
    """
    found = asyncio.run(read_control_state(CommonSettings.load().kafka_url)).get(kind, entry_id)
    if found is None:
        raise NoSuchEntryError(f"there is no {kind} {entry_id!r}")
    return public_fields(found)


def entries(kind: str) -> list[dict[str, Any]]:
    """All entries of a kind that are not deleted, the oldest first, without secrets."""
    state = asyncio.run(read_control_state(CommonSettings.load().kafka_url))
    found: Iterable[AnyEntry] = state.entries(kind).values()
    shown = [public_fields(one) for one in found if one.deleted_at is None]
    return sorted(shown, key=lambda one: str(one.get("created_at", "")))


def last_uses() -> dict[str, str]:
    """When each key was last used, to the minute, in ISO 8601; nothing of any where the
    topic cannot be read, as before `tocsin topics` made it.
    """
    try:
        uses = asyncio.run(read_last_uses(CommonSettings.load().kafka_url))
    except BusUnavailableError as error:
        print(f"When keys were last used is not known: {error}", file=sys.stderr)
        return {}
    return {key_id: used_at.isoformat(timespec="seconds") for key_id, used_at in uses.all().items()}


def show_json(value: object) -> None:
    """Prints JSON on one line."""
    print(json.dumps(value))
