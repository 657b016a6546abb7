"""A console's real application whose control state is in memory: what it writes is
decided, stamped and audited as the real writer does, and folded at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from schemas.control import AnyEntry, KeyChanged, Scope, TenantChanged
from schemas.events.audit import Actor, AuditEntry
from schemas.topics import AUDIT
from services.common.control.changes import Change
from services.common.control.state import ControlRecord, fold
from services.common.control.writer import ControlWriter
from services.common.errors import StoreUnavailableError
from services.common.identity import create_key, sign_key
from services.common.store import Store
from services.console.app import Console
from services.console.settings import Settings
from tests.support.control import PEPPER

TENANT_ADMIN = (Scope.INFER, Scope.FEEDBACK, Scope.READ, Scope.ADMIN)
BEGAN = datetime(2026, 11, 27, tzinfo=UTC)


class NoStore(Store):
    """A store that is away, and says so at once."""

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Raises."""
        raise StoreUnavailableError("there is none here")


@dataclass
class ConsoleScene:
    """The console, a client of it, and what was audited."""

    console: Console = field(init=False)
    client: httpx.AsyncClient = field(init=False)
    audited: list[AuditEntry] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    """Happens before the next change is decided."""

    def __post_init__(self) -> None:
        settings = Settings(
            key_pepper=PEPPER, pseudonym_key="a pseudonym key for tests", max_body_bytes=65_536
        )
        self.console = Console(settings, write=self.write, store=NoStore("http://localhost:1/none"))
        self.console.status.parts = {}
        self.console.control.caught_up = True
        transport = httpx.ASGITransport(app=self.console.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    async def write(self, actor: Actor, change: Change) -> AnyEntry | None:
        """As `ControlWriter.apply`, without a bus."""
        self.meanwhile()
        writer, now = ControlWriter("", actor, PEPPER), datetime.now(UTC)
        plan = writer.stamp(change(self.console.control.state, now), now)
        for record in writer.records(plan, now):
            if record.topic == AUDIT.name:
                assert isinstance(record.value, AuditEntry)
                self.audited.append(record.value)
            else:
                self._fold(ControlRecord(str(record.key), record.value.encode() if record.value else None))
        return plan.after

    def have(self, *entries: AnyEntry) -> None:
        """Puts entries there; keys are signed."""
        for entry in entries:
            there = sign_key(entry, pepper=PEPPER) if isinstance(entry, KeyChanged) else entry
            self._fold(ControlRecord(f"{there.kind}:{there.entry_id}", there.encode()))

    def have_tenant(self, tenant: str, **fields: Any) -> None:
        """Puts a tenant there."""
        self.have(TenantChanged(**({"tenant": tenant, "created_at": BEGAN, "version": 1} | fields)))

    def key(self, tenant: str, *scopes: Scope, **fields: Any) -> tuple[dict[str, str], str]:
        """A new key's Authorization header, and its id."""
        clear, record = create_key(pepper=PEPPER, name="k", tenant=tenant, now=BEGAN, scopes=scopes)
        self.have(record.model_copy(update={"version": 1, **fields}))
        return {"authorization": f"Bearer {clear}"}, record.key_id

    def _fold(self, record: ControlRecord) -> None:
        control = self.console.control
        control.state = fold(control.state, [record])
