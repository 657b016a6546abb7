"""What a consumer could not use, kept whole with where it came from and why."""

from pydantic import AwareDatetime

from schemas.base import Message


class DeadLettered(Message):
    """A record that was set aside.

    Its value and headers are base64, since they may be anything; `source` and
    `sequence` are its envelope's where readable. A record too large to be kept whole is
    cut: `value` is its beginning, `value_bytes` and `value_sha256` are of the whole.
    """

    topic: str
    partition: int
    offset: int
    key: str | None = None
    value: str
    value_bytes: int | None = None
    value_sha256: str | None = None
    headers: tuple[tuple[str, str], ...]
    source: str = ""
    sequence: int = -1
    consumer: str
    attempts: int
    error_type: str
    error: str
    failed_at: AwareDatetime
