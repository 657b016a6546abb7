"""Keys and tenants for tests, made as an administrator makes them."""

import contextlib
from datetime import UTC, datetime
from typing import Any

from schemas.control import KeyChanged, TenantChanged, UserChanged
from schemas.events.audit import Actor
from services.common.control import changes
from services.common.control.errors import ConflictError
from services.common.control.writer import ControlWriter
from services.common.identity import create_key

PEPPER = "a pepper for the tests only"


def control_writer(url: str, pepper: str = PEPPER) -> ControlWriter:
    """A writer in the tests' name."""
    return ControlWriter(url, Actor(kind="operator", id="tests"), pepper)


async def make_key(
    url: str, *, tenant: str = "acme", now: datetime | None = None, **fields: Any
) -> tuple[str, KeyChanged]:
    """A key in clear and its record; its tenant and user are made where they are not there."""
    writer, now = control_writer(url), now or datetime.now(UTC)
    with contextlib.suppress(ConflictError):
        await writer.apply(changes.create(TenantChanged(tenant=tenant, created_at=now)))
    if user := fields.get("user"):
        with contextlib.suppress(ConflictError):
            await writer.apply(changes.create(UserChanged(tenant=tenant, user=user, created_at=now)))
    clear, record = create_key(pepper=PEPPER, tenant=tenant, now=now, **({"name": "test"} | fields))
    written = await writer.apply(changes.create(record))
    assert isinstance(written, KeyChanged)
    return clear, written
