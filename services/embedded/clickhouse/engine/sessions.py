"""Sessions: a handle that a client comes back to by `session_id`, one request at a
time.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from services.embedded.clickhouse.engine.chdb_engine import Handle, apply_settings, use_database
from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql.lexer import quote
from services.embedded.clickhouse.users import User

_DEFAULT_TIMEOUT_S = 60.0
_MAX_TIMEOUT_S = 3600.0


@dataclass(slots=True)
class Session:
    """A handle that keeps what SET, USE and CREATE TEMPORARY TABLE did."""

    key: tuple[str, str]
    handle: Handle
    timeout_s: float
    expires: float
    busy: bool = True


@dataclass(slots=True)
class Sessions:
    """The open sessions of all users; an idle one ends after its timeout."""

    limit: int = 100
    clock: Callable[[], float] = time.monotonic
    _open: dict[tuple[str, str], Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(
        self, user: User, session_id: str, *, timeout_s: float, must_exist: bool, make: Callable[[], Handle]
    ) -> Session:
        """Takes a session, new or known, until `leave`.

        Raises:
            StoreError: It is in use (373), expired although `session_check` was given
                (372), or too many are open (202).
        """
        key = (user.name, session_id)
        with self._lock:
            self._end_expired()
            session = self._open.get(key)
            if session is None:
                if must_exist:
                    raise StoreError(372, "SESSION_NOT_FOUND", f"Session {session_id} not found")
                if len(self._open) >= self.limit:
                    raise StoreError(
                        202, "TOO_MANY_SIMULTANEOUS_QUERIES", f"Too many open sessions. Maximum: {self.limit}"
                    )
                session = self._open[key] = Session(key, make(), timeout_s, self.clock())
            elif session.busy:
                raise StoreError(
                    373, "SESSION_IS_LOCKED", f"Session {session_id} is locked by a concurrent client"
                )
            session.busy = True
            session.timeout_s = timeout_s
            return session

    def leave(self, session: Session) -> None:
        """Gives it back; its timeout runs from now."""
        with self._lock:
            session.busy = False
            session.expires = self.clock() + session.timeout_s

    def end(self, session: Session) -> None:
        """Closes it at once."""
        with self._lock:
            self._open.pop(session.key, None)
        session.handle.close()

    def end_all(self) -> None:
        """Closes every one that is not in use."""
        with self._lock:
            for session in [session for session in self._open.values() if not session.busy]:
                self._open.pop(session.key).handle.close()

    def _end_expired(self) -> None:
        now = self.clock()
        for session in [
            session for session in self._open.values() if not session.busy and session.expires <= now
        ]:
            self._open.pop(session.key).handle.close()


def session_timeout_s(value: str | None) -> float:
    """The `session_timeout` of a request, in seconds.

    Raises:
        StoreError: It is no number, or over an hour (374).
    """
    try:
        seconds = float(value) if value else _DEFAULT_TIMEOUT_S
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _MAX_TIMEOUT_S:
        raise StoreError(
            374,
            "INVALID_SESSION_TIMEOUT",
            f"Invalid session timeout: {value!r}; it is 0 to {_MAX_TIMEOUT_S:g} seconds",
        )
    return seconds


class RequestSettings:
    """What one request sets on a session's handle, and takes back in the end, unless
    its statement changed it again (SET, USE).
    """

    def __init__(self, handle: Handle, settings: Mapping[str, str], database: str | None) -> None:
        self._handle = handle
        self._names = list(settings)
        self._before = self._state()
        if database is not None:
            use_database(handle, database)
        apply_settings(handle, settings)
        self._applied = self._state()

    def undo(self) -> None:
        """Puts back what was before the request."""
        now = self._state()
        undone = {
            name: value for name, value in self._before.items() if now[name] == self._applied[name] != value
        }
        database = undone.pop("", None)
        if database is not None:
            use_database(self._handle, database)
        apply_settings(self._handle, undone)

    def _state(self) -> dict[str, str]:
        """The settings' values by name, and the current database under the empty name."""
        names = ", ".join(quote(name) for name in self._names)
        sql = (
            f"SELECT hex(name), hex(value) FROM system.settings WHERE name IN ({names}) UNION ALL "  # noqa: S608  quoted
            "SELECT '', hex(currentDatabase())"
        )
        pairs = (line.split("\t") for line in self._handle.command(sql).decode().splitlines())
        return {bytes.fromhex(name).decode(): bytes.fromhex(value).decode() for name, value in pairs}
