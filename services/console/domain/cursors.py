"""Cursors of lists that are walked from the newest on. Pure."""

import base64
from datetime import datetime

from services.common.errors import PermanentError


class InvalidCursorError(PermanentError):
    """A cursor that no page gave."""


def cursor_after(at: datetime, row_id: str) -> str:
    """What the next page begins with, behind this row."""
    text = f"{round(at.timestamp() * 1000)}.{row_id}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def read_cursor(cursor: str) -> tuple[int, str]:
    """The row that a page ended with: its time (ms) and its id.

    Raises:
        InvalidCursorError: it is no cursor.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        milliseconds, _, row_id = text.partition(".")
        at = int(milliseconds)
    except ValueError as error:
        raise InvalidCursorError("cursor: send a page's next_cursor as it came, or leave it out") from error
    if not 0 <= at < 1 << 62:
        raise InvalidCursorError("cursor: send a page's next_cursor as it came, or leave it out")
    return at, row_id
