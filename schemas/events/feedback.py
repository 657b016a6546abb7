"""What people say of an answer: feedback.submitted."""

from typing import Literal

from pydantic import AwareDatetime, Field

from schemas.base import Message

MAX_COMMENT_CHARS = 4_000
MAX_CORRECTION_CHARS = 100_000


class FeedbackSubmitted(Message):
    """A rating of one answer; the newest of a user for a request counts.

    `rating` is 1 (good) or -1 (bad). `correction` is what the answer should have been.
    `user` is a pseudonym. `model` and `requested_at` are those of the rated request, so
    that satisfaction by model needs no join.
    """

    feedback_id: str
    request_id: str
    tenant: str
    key_id: str
    user: str = ""
    model: str = ""
    rating: Literal[-1, 1]
    comment: str | None = Field(None, max_length=MAX_COMMENT_CHARS)
    correction: str | None = Field(None, max_length=MAX_CORRECTION_CHARS)
    requested_at: AwareDatetime | None = None
    submitted_at: AwareDatetime
