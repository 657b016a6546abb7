"""Sessions as signed tokens in a cookie. Pure; secrets, time and randomness are
arguments.

A token names the key that opened the session and is signed with that key's record, so
that every console replica reads it and it ends with the key: revoked, expired or
replaced.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.control import KeyChanged

_CLOCKS_DIFFER_S = 60
"""By so much, at most, a console's clock may be ahead of another's."""
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
    """Sessions that were logged out before they expired, by the SHA-256 of their ids.

    Bounded: of each key the last `per_key` are remembered; where more are logged out,
    all of the key's sessions that began until then end too.
    """

    longest_s: float
    per_key: int = 64
    _ended: dict[str, dict[str, int]] = field(default_factory=dict, init=False)
    _all_until: dict[str, int] = field(default_factory=dict, init=False)

    def end(self, key_id: str, session_digest: str, *, began_at: int, ended_at: int, now_s: float) -> None:
        """Notes a log-out; one of a session that is over anyway is forgotten."""
        if began_at + self.longest_s < now_s:
            return
        ended = self._ended.setdefault(key_id, {})
        for digest in [one for one, began in ended.items() if began + self.longest_s < now_s]:
            del ended[digest]
        if len(ended) >= self.per_key and session_digest not in ended:
            latest = max(min(ended_at, int(now_s)), *ended.values(), self._all_until.get(key_id, -1))
            self._all_until[key_id] = min(latest, int(now_s) + _CLOCKS_DIFFER_S)
            ended.clear()
        ended[session_digest] = began_at

    def has(self, session: Session) -> bool:
        """Whether it was logged out."""
        if session.began_at <= self._all_until.get(session.key_id, -1):
            return True
        ended = self._ended.get(session.key_id)
        return ended is not None and session_digest(session) in ended


def session_digest(session: Session) -> str:
    """What a session is called where others can read it."""
    return hashlib.sha256(session.session_id.encode()).hexdigest()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
