"""A console's real application whose control state is in memory: what it writes is
decided, stamped and audited as the real writer does, and folded at once.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from schemas.control import AnyEntry, KeyChanged, Scope, TenantChanged
from schemas.events.audit import Actor, AuditEntry
from schemas.topics import AUDIT
from services.common.bus import Outgoing
from services.common.control.changes import Change
from services.common.control.state import ControlRecord, fold
from services.common.control.writer import ControlWriter
from services.common.errors import BusUnavailableError
from services.common.identity import create_key, sign_key
from services.console.app import Console
from services.console.security.analysis import analyse
from services.console.settings import Settings
from services.detection.prompt_attacks.detector import Action, Level, Verdict
from tests.support.console.answering_store import AnsweringStore
from tests.support.console.answering_views import AnsweringViews
from tests.support.control import PEPPER
from tests.support.issuer import AUDIENCE, ISSUER, SECRET, claims, sign

TENANT_ADMIN = (Scope.INFER, Scope.FEEDBACK, Scope.READ, Scope.ADMIN)
PSEUDONYM_KEY = "a pseudonym key for tests"
BEGAN = datetime(2026, 11, 27, tzinfo=UTC)
_NOTHING = Verdict(Level.NONE, Action.ALLOW, 0.0, 0.0, (), (), None, "m", "r")


ISSUED = {
    "jwt_algorithms": "HS256",
    "jwt_issuer": ISSUER,
    "jwt_audience": AUDIENCE,
    "jwt_secret": SECRET.decode(),
}
"""Settings that let the tests' issuer's tokens in."""


class _Analysis:
    """Finds nothing in any prompt: no test here wants a process with a detector."""

    is_alive = True

    async def ask(self, job: Any) -> Any:
        """What there is to say of a prompt."""
        return analyse(job["prompt"], lambda _text, *, depth: _NOTHING)

    async def close(self) -> None:
        """Ends it."""


async def _start_analysis() -> _Analysis:
    return _Analysis()


@dataclass
class ConsoleScene:
    """The console, a client of it, what its store was asked and its bus was given, and
    what was audited.
    """

    limits_defaults: str = ""
    max_body_bytes: int = 65_536
    console: Console = field(init=False)
    client: httpx.AsyncClient = field(init=False)
    store: AnsweringStore = field(default_factory=AnsweringStore)
    sent: list[Outgoing] = field(default_factory=list)
    audited: list[AuditEntry] = field(default_factory=list)
    recorded: list[AuditEntry] = field(default_factory=list)
    """What was audited of calls that change nothing, or were refused."""
    audit_is_away: bool = False
    meanwhile: Callable[[], None] = lambda: None
    """Happens before the next change is decided."""

    def __post_init__(self) -> None:
        settings = Settings(
            key_pepper=PEPPER,
            pseudonym_key=PSEUDONYM_KEY,
            max_body_bytes=self.max_body_bytes,
            limits_defaults=self.limits_defaults,
            **ISSUED,
        )
        self.console = Console(settings, write=self.write, store=self.store)
        self.console.views.text = AnsweringViews(self.store).text  # type: ignore[method-assign]
        self.console.status.parts = {}
        self.console.control.caught_up = True
        self.console._log_outs.caught_up = True
        self.console._log_outs.send = self.console._feedback.send = self._send
        self.console.security.feedback.send = self._send
        self.console.security.analyst.child.start = _start_analysis
        self.console.auditing.writer.send = self._record
        self.console.privacy.log.caught_up = True
        self.console.privacy.log.send = self._send
        self.console.privacy.export.store = self.store
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

    async def token(self, headers: Mapping[str, str], *scopes: Scope) -> dict[str, str]:
        """The Authorization header of a short token for a key, with these scopes only."""
        asked = {"scopes": list(scopes)} if scopes else {}
        answer = await self.client.post("/api/auth/token", headers=headers, json=asked)
        return {"authorization": f"Bearer {answer.json()['access_token']}"}

    async def session(self, headers: Mapping[str, str]) -> dict[str, str]:
        """What a browser sends that logged in with a key."""
        clear = headers["authorization"].removeprefix("Bearer ")
        answer = await self.client.post("/api/auth/session", json={"key": clear})
        self.client.cookies.clear()
        return {
            "cookie": answer.headers["set-cookie"].partition(";")[0],
            "x-csrf-token": answer.json()["csrf_token"],
        }

    def issued(self, user: str, *scopes: Scope, tenant: str = "acme") -> dict[str, str]:
        """The Authorization header of the identity provider's token for a user."""
        said = claims(time.time(), sub=user, tenant=tenant, scope=" ".join(scopes))
        return {"authorization": f"Bearer {sign(said, 'HS256')}"}

    async def _send(self, outgoing: Outgoing) -> None:
        self.sent.append(outgoing)

    async def _record(self, outgoing: Outgoing) -> None:
        if self.audit_is_away:
            raise BusUnavailableError("there is none here")
        assert isinstance(outgoing.value, AuditEntry)
        self.recorded.append(outgoing.value)

    def _fold(self, record: ControlRecord) -> None:
        control = self.console.control
        control.state = fold(control.state, [record])
