"""What every message model shares."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that JSON can carry: neither infinite nor NaN."""


class Message(BaseModel):
    """A frozen message.

    Unknown fields are tolerated, so that an older consumer reads a newer producer.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")

    def encode(self) -> bytes:
        """The message as JSON bytes, the value of a Kafka record."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True)


class Running(Message):
    """An attempt that a replica holds, how many tokens it has generated, and how many
    its prompt has.
    """

    request_id: str
    attempt: int
    tokens: int = 0
    prompt_tokens: int = 0


class TenantTurn(Message):
    """A tenant in the order of its lane: how many of it wait, and how many it is served
    in a turn. `left` is how many it still gets of a turn that has begun.

    Without a name: all those together that are not told one by one.
    """

    tenant: str = ""
    waiting: int
    share: int = 1
    left: int | None = None


class PromptPart(Message):
    """A message of a prompt: its role, and how many characters of the prompt's text are
    its own. Messages are joined by a line break.
    """

    role: str
    chars: int


class AnswerHandling(Message):
    """What gateways do to an answer before its client has it.

    `sealed`, readable by gateways alone, says what the placeholders of a masked prompt
    stand for, and which values the prompt itself holds. `leaks` (secrets, the system
    prompt) and `personal` (data of others) say what is done about what an answer gives
    away: observe, which is nothing, mask or cut.
    """

    sealed: str = ""
    leaks: Literal["observe", "mask", "cut"] = "observe"
    personal: Literal["observe", "mask", "cut"] = "observe"
