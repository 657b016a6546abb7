"""The body of POST /v1/responses."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from services.gateway.openai.json_values import JsonObject

_Text = Annotated[str, Field(max_length=1_048_576)]


class TextConfig(BaseModel):
    """What form the text shall have."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    format: JsonObject | None = None
    verbosity: str | None = None


class ResponsesBody(BaseModel):
    """POST /v1/responses.

    Unknown keys are tolerated and kept apart (`model_extra`).
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    model: Annotated[str, Field(min_length=1, max_length=256)]
    input: _Text | Annotated[list[JsonObject], Field(min_length=1, max_length=4096, fail_fast=True)]
    instructions: _Text | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=32)] | None = None
    text: TextConfig | None = None
    tools: Annotated[list[JsonObject], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | JsonObject | None = None
    parallel_tool_calls: bool | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    user: Annotated[str, Field(max_length=256)] | None = None
    safety_identifier: Annotated[str, Field(max_length=256)] | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    store: bool | None = None
    """Tolerated, since clients send true by default; nothing is stored."""
    stream_options: JsonObject | None = None
    truncation: str | None = None
    background: StrictBool | None = None
    reasoning: JsonObject | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    max_tool_calls: int | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
