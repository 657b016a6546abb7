"""When API keys were used: keys.used."""

from pydantic import AwareDatetime

from schemas.base import Message


class KeyUsed(Message):
    """A key was let in, or a token that stands for it, at a gateway or a console.

    Told at most once in a minute for each key by each process: later uses within it
    are not.
    """

    key_id: str
    last_used_at: AwareDatetime
