"""Sessions as signed tokens in a cookie. Pure; secrets, time and randomness are
arguments.

A token names the key that opened the session and is signed with that key's record, so
that every console replica reads it and it ends with the key: revoked, expired or
replaced.
"""

import base64
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.control import KeyChanged

_TOKEN = re.compile(
    r"1\.([0-9a-f]{32})\.([0-9a-z]{8})\.(\d{1,12})\.(\d{1,12})\.([0-9A-Za-z_-]{43})", re.ASCII
)
MAX_TOKEN_CHARS = 256


@dataclass(frozen=True, slots=True)
class Session:
    """A session: who opened it, when, and until when it lasts (Unix seconds)."""

    session_id: str
    key_id: str
    began_at: int
    expires_at: int


@dataclass(frozen=True)
class SessionSigner:
    """Makes and reads tokens under one secret."""

    pepper: str = field(repr=False)

    def token(self, session: Session, key: KeyChanged) -> str:
        """The session as the cookie holds it."""
        payload = f"1.{session.session_id}.{session.key_id}.{session.began_at}.{session.expires_at}"
        return f"{payload}.{self._signature(payload, key)}"

    def read(self, token: str, find_key: Callable[[str], KeyChanged | None], now_s: float) -> Session | None:
        """The session that a token holds; None where it is forged, malformed or over,
        or its key is another by now.
        """
        found = _TOKEN.fullmatch(token) if len(token) <= MAX_TOKEN_CHARS else None
        key = find_key(found[2]) if found else None
        if found is None or key is None:
            return None
        payload, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature, self._signature(payload, key)):
            return None
        session = Session(found[1], found[2], int(found[3]), int(found[4]))
        return session if now_s < session.expires_at else None

    def csrf_token(self, session: Session) -> str:
        """What a page must send with each call that changes something: another site
        can have the cookie sent, but cannot read this.
        """
        return _base64url(self._mac(f"csrf.{session.session_id}"))

    def is_csrf_token(self, session: Session, given: str) -> bool:
        """Whether it is this session's, compared in constant time."""
        return given.isascii() and hmac.compare_digest(given, self.csrf_token(session))

    def _signature(self, payload: str, key: KeyChanged) -> str:
        return _base64url(self._mac(f"{payload}.{key.tenant}.{key.secret_hmac}"))

    def _mac(self, text: str) -> bytes:
        derived = hmac.digest(self.pepper.encode(), b"tocsin console sessions 1", "sha256")
        return hmac.digest(derived, text.encode(), "sha256")


@dataclass
class EndedSessions:
    """Sessions that were logged out before they expired.

    Bounded: of each key the last `per_key` are remembered; where more are logged out,
    all of the key's sessions that began before end too.
    """

    longest_s: float
    per_key: int = 64
    _ended: dict[str, dict[str, int]] = field(default_factory=dict, init=False)
    _all_before: dict[str, int] = field(default_factory=dict, init=False)

    def end(self, session: Session, now_s: float) -> None:
        """Logs a session out."""
        ended = self._ended.setdefault(session.key_id, {})
        for session_id in [one for one, began in ended.items() if began + self.longest_s < now_s]:
            del ended[session_id]
        if len(ended) >= self.per_key:
            ended.clear()
            self._all_before[session.key_id] = int(now_s)
        ended[session.session_id] = session.began_at

    def has(self, session: Session) -> bool:
        """Whether it was logged out."""
        return session.session_id in self._ended.get(
            session.key_id, ()
        ) or session.began_at < self._all_before.get(session.key_id, 0)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
