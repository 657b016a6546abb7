"""What gateways tell each other, in the partition of `inference.replies` that a request's answers go to."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from schemas.base import Message
from schemas.inference import InferenceRequested, ReplyBeat, ReplyChunk, ReplyEnded, RetryNeeded


class GatewayRequest(InferenceRequested):
    """A request with what another gateway needs to know to go on answering it just so."""

    include_usage: bool = False


class StreamTaken(Message):
    """A client has reattached: whoever followed the stream for it before shall not cancel it when its own client leaves."""

    kind: Literal["taken"] = "taken"
    request_id: str
    gateway_id: str
    follower_id: str


Heard = ReplyChunk | ReplyBeat | ReplyEnded | RetryNeeded | StreamTaken
HEARD: TypeAdapter[Heard] = TypeAdapter(Annotated[Heard, Field(discriminator="kind")])
