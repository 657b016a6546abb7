"""Every API key as the control topic has it, in memory."""

from dataclasses import dataclass, field
from datetime import datetime

from schemas.control import KeyChanged, Scope
from schemas.errors import ErrorCode
from schemas.topics import CONTROL
from services.common.bus import MessageReader, Start, Tail
from services.common.health import HealthState
from services.common.http.problems import ProblemError, forbidden, unauthenticated, unavailable
from services.common.identity import is_secret_of, parse_key
from services.common.keys_admin import key_messages, note_key


class UnknownKeyError(ProblemError):
    """No key, or one that nobody knows: it may be a guess."""


@dataclass
class Keys:
    """Reads the control topic from its beginning and goes on reading; nobody is let in
    before it has come to its end.
    """

    tail: Tail
    pepper: str = field(repr=False)
    health: HealthState
    caught_up: bool = field(default=False, init=False)
    _messages: MessageReader[KeyChanged] = field(default_factory=key_messages, init=False)
    _keys: dict[str, KeyChanged] = field(default_factory=dict, init=False)

    async def start(self) -> None:
        """Reads what there is.

        Raises:
            BusUnavailableError: no broker, or no control topic.
        """
        self.health.report("keys", ok=False, detail="being read")
        await self.tail.start([0], Start.BEGINNING)
        end = (await self.tail.end_offsets(CONTROL.name, [0]))[0]
        while await self.tail.position(CONTROL.name, 0) < end:
            await self._poll()
        self.caught_up = True
        self.health.report("keys", ok=True, detail=f"{len(self._keys)} keys")

    async def run(self) -> None:
        """Follows the changes, until cancelled."""
        while True:
            await self._poll()

    async def close(self) -> None:
        """Disconnects."""
        await self.tail.close()

    def find(self, key_id: str) -> KeyChanged | None:
        """A key by its public part."""
        return self._keys.get(key_id)

    def check(self, clear: str, scope: Scope, now: datetime) -> KeyChanged:
        """The key that a client sent, if it is good for `scope`.

        Raises:
            UnknownKeyError: 401, nobody knows it.
            ProblemError: 401, it ended; 403, it lacks the scope; 503, the keys are not
                read yet.
        """
        if not self.caught_up:
            raise unavailable("The console is starting. Try again.", code=ErrorCode.STARTING)
        sent = parse_key(clear)
        key = self._keys.get(sent.key_id) if sent else None
        if sent is None or key is None or not is_secret_of(key, sent.secret, pepper=self.pepper):
            raise UnknownKeyError(
                unauthenticated("The API key is not known; `tocsin keys create` makes one.").problem
            )
        self.require_rights(key, scope, now)
        return key

    def require_rights(self, key: KeyChanged, scope: Scope, now: datetime) -> None:
        """Passes while a key is good for `scope`.

        Raises:
            ProblemError: 401, it ended; 403, it lacks the scope.
        """
        if key.revoked_at is not None and key.revoked_at <= now:
            raise unauthenticated("The API key was revoked.")
        if key.expires_at is not None and key.expires_at <= now:
            raise unauthenticated("The API key has expired.")
        if scope not in key.scopes:
            raise forbidden(f"The API key {key.key_id} lacks the scope {scope.value!r}.")

    async def _poll(self) -> None:
        for record in await self.tail.poll():
            note_key(self._keys, record, self._messages)
