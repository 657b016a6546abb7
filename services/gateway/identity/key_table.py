"""Every API key, in memory, as the control topic has it: what is revoked there is
refused here within a second.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from schemas.control import KeyChanged, Scope
from schemas.errors import ErrorCode
from services.common import metrics
from services.common.bus import MessageReader, Record, Start, Tail
from services.common.health import HealthState
from services.common.http.problems import forbidden, unauthenticated, unavailable
from services.common.identity import is_secret_of, parse_key
from services.common.keys_admin import key_messages, note_key

_HOW = "Send 'Authorization: Bearer tsn_...'; `tocsin keys create` makes a key."


@dataclass
class KeyTable:
    """Reads the control topic from its beginning and goes on reading.

    Nobody is let in before it has come to its end.
    """

    tail: Tail
    pepper: str
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
        async for records in self.tail.read_to_end():
            self._note(records)
        self.caught_up = True
        self.health.report("keys", ok=True, detail=f"{len(self._keys)} keys")

    async def run(self) -> None:
        """Follows the changes, until cancelled."""
        while True:
            self._note(await self.tail.poll())

    async def close(self) -> None:
        """Disconnects."""
        await self.tail.close()

    def authenticate(self, authorization: str | None, scope: Scope, *, now: datetime) -> KeyChanged:
        """The key that an Authorization header carries.

        Raises:
            ProblemError: 401, no good key; 403, a good one without this scope; 503, the
                keys are not read yet.
        """
        if not self.caught_up:
            raise unavailable("The gateway is starting. Try again.", code=ErrorCode.STARTING)
        scheme, _, clear = (authorization or "").partition(" ")
        sent = parse_key(clear.strip()) if scheme.lower() == "bearer" else None
        if sent is None:
            raise unauthenticated(f"There is no API key in the request, or it is malformed. {_HOW}")
        key = self._keys.get(sent.key_id)
        if key is None or not is_secret_of(key, sent.secret, pepper=self.pepper):
            raise unauthenticated(f"The API key is not known. {_HOW}")
        if key.revoked_at is not None and key.revoked_at <= now:
            raise unauthenticated("The API key was revoked.")
        if key.expires_at is not None and key.expires_at <= now:
            raise unauthenticated("The API key has expired.")
        if scope not in key.scopes:
            raise forbidden(f"The API key {key.key_id} lacks the scope {scope.value!r}.")
        return key

    def _note(self, records: Iterable[Record]) -> None:
        for record in records:
            note_key(self._keys, record, self._messages)
        metrics.GATEWAY_KEYS.set(len(self._keys))
