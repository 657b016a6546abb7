"""The bodies that clients send, as OpenAI's API defines them.

Validated once; what is valid travels on as plain dictionaries.
"""

from typing import Annotated, Any, Literal, NotRequired, TypeVar

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from services.gateway.openai.json_values import JsonObject

_Text = Annotated[str, Field(max_length=1_048_576)]
_TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,10}$")]
_Item = TypeVar("_Item")
_Many = Annotated[list[_Item], Field(max_length=4096, fail_fast=True)]
"""A list whose first wrong item ends its reading: half a million wrong ones would cost
seconds to tell.
"""


def _refuse_token_ids(prompt: Any) -> Any:
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], int | list):
        raise ValueError("Token ids are not served; send the prompt as text")
    return prompt


class ContentPart(TypedDict):
    """A part of a message's content."""

    __pydantic_config__ = ConfigDict(extra="ignore")  # type: ignore[misc]
    type: Annotated[str, Field(max_length=64)]
    text: NotRequired[_Text]


class ChatMessage(TypedDict):
    """One message of a conversation."""

    __pydantic_config__ = ConfigDict(extra="ignore")  # type: ignore[misc]
    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: NotRequired[_Text | _Many[ContentPart] | None]
    name: NotRequired[Annotated[str, Field(max_length=256)] | None]
    tool_calls: NotRequired[_Many[JsonObject] | None]
    tool_call_id: NotRequired[Annotated[str, Field(max_length=256)] | None]


class StreamOptions(BaseModel):
    """How to stream."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    include_usage: bool | None = None


class ResponseFormat(BaseModel):
    """What form the answer shall have."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonObject | None = None
    object_schema: JsonObject | None = Field(default=None, alias="schema")
    """Of a json_object, as llama.cpp's server takes it."""


class ToolName(BaseModel):
    """A tool, by its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=64)]


class FunctionChoice(BaseModel):
    """One function, which the answer calls."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["function"]
    function: ToolName


class CustomChoice(BaseModel):
    """One tool of free text, which the answer calls."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["custom"]
    custom: ToolName


OneTool = Annotated[FunctionChoice | CustomChoice, Field(discriminator="type")]


class AllowedTools(BaseModel):
    """Some of the tools."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    mode: Literal["auto", "required"]
    tools: Annotated[list[OneTool], Field(max_length=128)]


class AllowedChoice(BaseModel):
    """Some of the tools, of which the answer may or must call one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = Annotated[FunctionChoice | CustomChoice | AllowedChoice, Field(discriminator="type")]
"""Nothing but what OpenAI's API has: what a client added would reach an upstream's model
unseen.
"""


class CommonBody(BaseModel):
    """What chat and text completions share.

    Unknown keys are tolerated and kept apart (`model_extra`).
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    model: Annotated[str, Field(min_length=1, max_length=256)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stop: (
        Annotated[str, Field(min_length=1, max_length=1024)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=1024)]], Field(max_length=4)]
        | None
    ) = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: (
        Annotated[dict[_TokenId, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024)] | None
    ) = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = Field(
        default=None, validation_alias=AliasChoices("repetition_penalty", "repeat_penalty")
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    user: Annotated[str, Field(max_length=256)] | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream shall end with a usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, however they were sent."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatBody(CommonBody):
    """POST /v1/chat/completions."""

    messages: Annotated[_Many[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    guided_json: JsonObject | None = None
    """vLLM's name for a response_format of type json_schema."""
    tools: Annotated[list[JsonObject], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    function_call: Any = None


class CompletionBody(CommonBody):
    """POST /v1/completions."""

    prompt: Annotated[
        _Text | Annotated[list[_Text], Field(min_length=1, max_length=2048)],
        BeforeValidator(_refuse_token_ids),
    ]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None
    suffix: str | None = None

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts, however they were sent: each gets its own choices."""
        return (self.prompt,) if isinstance(self.prompt, str) else tuple(self.prompt)


class GenerateBody(BaseModel):
    """POST /generate."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    model_name: Annotated[str, Field(min_length=1, max_length=256)]
    messages: Annotated[_Many[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
