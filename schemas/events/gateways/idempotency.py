"""Idempotency keys: which request answers a key, and the sealed answer."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from schemas.base import Message


class KeyClaimed(Message):
    """A gateway wants to answer a key by these requests.

    The log's order decides: the first claim of a `digest` within a day holds, a later
    one only where the key was released before, or where it `replaces` the claim that
    holds, whose requests never came into the log. `digest` stands for tenant, caller
    and key, `body_digest` for what was asked; neither tells it without the gateways'
    pepper.
    """

    kind: Literal["claimed"] = "claimed"
    digest: str
    body_digest: str
    claim_id: str
    replaces: str = ""
    request_ids: tuple[str, ...]
    tenant: str


class KeySettled(Message):
    """The requests of the claim that holds were answered.

    `answer_id` names the sealed answer; it is empty where that was too large to keep.
    """

    kind: Literal["settled"] = "settled"
    digest: str
    claim_id: str
    answer_id: str = ""


class KeyReleased(Message):
    """The claim that holds came to nothing: the key may be used again."""

    kind: Literal["released"] = "released"
    digest: str
    claim_id: str


class AnswerKept(Message):
    """An answer, sealed with a key that is made from the client's own idempotency key
    and body: nobody who has not both can read it.

    `sealed` is nonce and ciphertext (AES-256-GCM), in base64.
    """

    answer_id: str
    tenant: str
    sealed: str


AnyKeyEvent = KeyClaimed | KeySettled | KeyReleased
KeyEvent = Annotated[AnyKeyEvent, Field(discriminator="kind")]
KEY_EVENT: TypeAdapter[AnyKeyEvent] = TypeAdapter(KeyEvent)
ANSWER_KEPT: TypeAdapter[AnswerKept] = TypeAdapter(AnswerKept)
