"""From a client's body to what is asked of a model: what the model cannot honour is
refused by name, never left out.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from schemas.errors import ErrorCode
from schemas.inference import Lane, Sampling
from services.common.http.problems import malformed
from services.common.requests.model_catalogue import ModelConfig
from services.gateway.openai.requests import ChatBody, CommonBody, CompletionBody

_NEUTRAL: Mapping[str, Any] = {
    "temperature": 1,
    "top_p": 1,
    "n": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "top_logprobs": 0,
    "min_p": 0,
    "repetition_penalty": 1,
}
"""Values that ask for nothing: what OpenAI's API does by itself."""
_SAMPLING_FIELDS = (
    "temperature",
    "top_p",
    "max_tokens",
    "n",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "top_k",
    "min_p",
    "repetition_penalty",
)
_OPENAI = """
    reasoning_effort reasoning verbosity modalities audio web_search_options
"""
_VLLM = """
    use_beam_search length_penalty stop_token_ids include_stop_str_in_output ignore_eos min_tokens
    skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens allowed_token_ids
    bad_words prompt_logprobs add_generation_prompt continue_final_message add_special_tokens
    documents chat_template chat_template_kwargs mm_processor_kwargs guided_regex guided_choice
    guided_grammar guided_whitespace_pattern structured_outputs logits_processors thinking
"""
_LLAMA_CPP = """
    n_predict grammar json_schema mirostat mirostat_tau mirostat_eta typical_p top_n_sigma
    dynatemp_range dynatemp_exponent repeat_last_n dry_multiplier dry_base dry_allowed_length
    dry_penalty_last_n dry_sequence_breakers xtc_probability xtc_threshold samplers n_keep n_discard
    n_indent t_max_predict_ms n_probs min_keep lora reasoning_format reasoning_budget
    enable_thinking
"""
_OLLAMA = """
    options format think
"""
_UNSERVED = frozenset(f"{_OPENAI} {_VLLM} {_LLAMA_CPP} {_OLLAMA}".split())
"""Fields of other servers that change the answer and that no engine here is given."""
_TEXT_ONLY = ["text"]


def chat_sampling(body: ChatBody, model: ModelConfig, *, max_choices: int) -> Sampling:
    """How to choose the tokens of a chat.

    Raises:
        ProblemError: 400, the field that the model cannot honour in `param`.
    """
    if body.functions is not None or body.function_call is not None:
        raise malformed(
            "functions and function_call are not served; send tools and tool_choice.", "functions"
        )
    if body.top_logprobs and not body.logprobs:
        raise malformed("top_logprobs needs logprobs to be true.", "top_logprobs")
    if not body.tools and body.tool_choice not in (None, "none", "auto"):
        raise malformed("tool_choice needs tools to choose from.", "tool_choice")
    if body.guided_json is not None and body.response_format is not None:
        raise malformed("guided_json and response_format say the same; send one of them.", "guided_json")
    _check(model, "chat", _asked_of_chat(body))
    _check_messages(body, model)
    max_tokens = body.max_completion_tokens or body.max_tokens
    return _sampling(
        body,
        model,
        max_choices=max_choices,
        max_tokens=max_tokens,
        logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0,
        response_format=_response_format(body),
        tools=tuple(body.tools or ()),
        tool_choice=_tool_choice(body) if body.tools else None,
        parallel_tool_calls=body.parallel_tool_calls if body.tools else None,
    )


def completion_sampling(body: CompletionBody, model: ModelConfig, *, max_choices: int) -> Sampling:
    """How to choose the tokens of a text completion.

    Raises:
        ProblemError: 400, the field that the model cannot honour in `param`.
    """
    if body.echo:
        raise malformed("echo is not served.", "echo")
    if body.suffix:
        raise malformed("suffix is not served.", "suffix")
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise malformed("best_of other than n is not served.", "best_of")
    asked = {"logprobs": body.logprobs is not None, "top_logprobs": bool(body.logprobs)}
    _check(model, "completion", [*_asked(body), *(name for name, wanted in asked.items() if wanted)])
    return _sampling(
        body,
        model,
        max_choices=max_choices,
        max_tokens=body.max_tokens,
        logprobs=body.logprobs is not None,
        top_logprobs=body.logprobs or 0,
    )


def lane_of(body: CommonBody, model: ModelConfig) -> Lane:
    """The lane that a service tier stands for.

    Raises:
        ProblemError: 400, the model does not offer it.
    """
    if body.service_tier in (None, "auto"):
        return Lane.INTERACTIVE if Lane.INTERACTIVE in model.lanes else Lane(model.lanes[0])
    lane = Lane.BATCH if body.service_tier == "flex" else Lane.INTERACTIVE
    if lane not in model.lanes:
        raise malformed(
            f"The model {model.name} is not served in the {lane} lane, which service_tier "
            f"{body.service_tier!r} means.",
            "service_tier",
        )
    return lane


def _sampling(
    body: CommonBody, model: ModelConfig, *, max_choices: int, max_tokens: int | None, **rest: Any
) -> Sampling:
    _refuse_unserved(body)
    n = body.n or 1
    if n > max_choices:
        raise malformed(f"n is {n}; at most {max_choices} choices are given.", "n")
    if max_tokens is not None and max_tokens > model.context_length:
        name = "max_completion_tokens" if getattr(body, "max_completion_tokens", None) else "max_tokens"
        raise malformed(
            f"{name} is {max_tokens}; the context of {model.name} has {model.context_length} tokens.", name
        )
    return Sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=max_tokens,
        n=n,
        stop=body.stops,
        seed=body.seed,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        logit_bias=body.logit_bias or None,
        top_k=body.top_k,
        min_p=body.min_p,
        repetition_penalty=body.repetition_penalty,
        **rest,
    )


def _check(model: ModelConfig, kind: str, asked: Iterable[str]) -> None:
    if kind not in model.capabilities:
        raise malformed(
            f"The model {model.name} serves no {kind} requests.", "model", ErrorCode.UNSUPPORTED_VALUE
        )
    for name in asked:
        if name not in model.capabilities:
            raise malformed(
                f"The model {model.name} cannot honour {name}; leave it out or choose another model.",
                name.split(".")[0],
                ErrorCode.UNSUPPORTED_PARAMETER,
            )


def _asked(body: CommonBody) -> Iterator[str]:
    for name in _SAMPLING_FIELDS:
        value = getattr(body, name)
        if value is not None and value != _NEUTRAL.get(name) and value not in ([], {}):
            yield name


def _asked_of_chat(body: ChatBody) -> Iterator[str]:
    yield from _asked(body)
    wanted = {
        "max_tokens": body.max_completion_tokens,
        "logprobs": body.logprobs,
        "top_logprobs": body.top_logprobs,
        "tools": body.tools,
        "tool_choice": body.tools and body.tool_choice not in (None, "auto"),
        "parallel_tool_calls": body.tools and body.parallel_tool_calls is not None,
    }
    yield from (name for name, value in wanted.items() if value)
    if (wanted_format := _response_format(body)) is not None:
        yield f"response_format.{wanted_format['type']}"


def _refuse_unserved(body: CommonBody) -> None:
    """Refuses the fields that would change the answer if anything read them."""
    for name, value in (body.model_extra or {}).items():
        if name in _UNSERVED and value not in (None, False, "", [], {}, _TEXT_ONLY):
            raise malformed(f"{name} is not served; leave it out.", name, ErrorCode.UNSUPPORTED_PARAMETER)


def _check_messages(body: ChatBody, model: ModelConfig) -> None:
    for place, message in enumerate(body.messages):
        if (message.get("tool_calls") or message["role"] == "tool") and "tools" not in model.capabilities:
            raise malformed(
                f"messages[{place}] is part of a tool call, which {model.name} cannot read; leave tool calls "
                "and their results out, or choose another model.",
                "messages",
                ErrorCode.UNSUPPORTED_VALUE,
            )
        content = message.get("content")
        if content is None and message["role"] != "assistant":
            raise malformed(
                f"messages[{place}] has no content; only an assistant's may lack it.",
                "messages",
                ErrorCode.MISSING_PARAMETER,
            )
        if isinstance(content, list):
            for part in content:
                if part["type"] != "text" or "text" not in part:
                    raise malformed(
                        f"messages[{place}] has a content part of type {part['type']!r}; only text can be "
                        "read.",
                        "messages",
                    )


def _response_format(body: ChatBody) -> dict[str, Any] | None:
    if body.guided_json is not None:
        return _json_schema(body.guided_json)
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object" and wanted.object_schema is not None:
        return _json_schema(wanted.object_schema)
    return wanted.model_dump(exclude_none=True, exclude={"object_schema"})


def _tool_choice(body: ChatBody) -> str | dict[str, Any] | None:
    choice = body.tool_choice
    return choice if choice is None or isinstance(choice, str) else choice.model_dump()


def _json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
