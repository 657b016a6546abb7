"""What a consumer could not use, kept whole with where it came from and why."""

from datetime import datetime

from schemas.base import Message


class DeadLettered(Message):
    """A record that was set aside.

    Its value and headers are base64, since they may be anything; `source` and
    `sequence` are its envelope's where readable.
    """

    topic: str
    partition: int
    offset: int
    key: str | None = None
    value: str
    headers: tuple[tuple[str, str], ...]
    source: str = ""
    sequence: int = -1
    consumer: str
    attempts: int
    error_type: str
    error: str
    failed_at: datetime
