"""What every message model shares."""

from typing import Annotated

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
