"""What consoles tell each other of sessions: console.sessions."""

from pydantic import AwareDatetime

from schemas.base import Message


class SessionEnded(Message):
    """A session that was logged out before it expired.

    `session_digest` is SHA-256 of its id, in hexadecimal: who reads the topic learns no
    session. It matters for as long as a session may last since `began_at`.
    """

    session_digest: str
    key_id: str
    began_at: AwareDatetime
    ended_at: AwareDatetime
