"""POST /v1/feedback's body: the gateway documents it, the console reads it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.events.feedback import MAX_COMMENT_CHARS, MAX_CORRECTION_CHARS


class FeedbackBody(BaseModel):
    """What somebody thinks of an answer."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"request_id": "chatcmpl-...", "rating": 1, "comment": "Exactly."}]}
    )

    request_id: str = Field(max_length=128, description="The `id` of the answer, its x-request-id.")
    rating: Literal[-1, 1] = Field(description="1 is good, -1 is bad.")
    comment: str | None = Field(None, max_length=MAX_COMMENT_CHARS)
    correction: str | None = Field(
        None, max_length=MAX_CORRECTION_CHARS, description="What the answer should have been."
    )
    user: str | None = Field(
        None,
        max_length=256,
        description="Who rates, where the key has no user; else the key's user rates.",
    )
