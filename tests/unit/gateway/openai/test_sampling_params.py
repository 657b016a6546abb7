"""From a body to sampling: honoured, or refused by name."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.inference import Lane
from services.common.http.request_body import parse_json
from services.common.requests.model_catalogue import ModelConfig
from services.gateway.openai.requests import ChatBody, CompletionBody
from services.gateway.openai.sampling_params import chat_sampling, completion_sampling, lane_of
from services.gateway.problems import ProblemError

LLAMA = ModelConfig(name="m", engine="llamacpp", context_length=64)
SCRIPTED = ModelConfig(name="s", engine="scripted", context_length=64, lanes=("interactive",))
UPSTREAM = ModelConfig(name="u", engine="openai_compatible", context_length=64)


def chat(**fields: Any) -> ChatBody:
    """A chat body."""
    return ChatBody.model_validate({"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields)


def refusal(body: ChatBody | CompletionBody, model: ModelConfig) -> tuple[str | None, str]:
    """The param and the code of the 400 that a body gets."""
    sampling: Any = chat_sampling if isinstance(body, ChatBody) else completion_sampling
    with pytest.raises(ProblemError) as raised:
        sampling(body, model, max_choices=4)
    assert raised.value.problem.status == 400
    return raised.value.problem.param, raised.value.problem.code


@pytest.mark.parametrize(
    "field",
    [
        {"reasoning_effort": "high"},
        {"verbosity": "low"},
        {"modalities": ["text", "audio"]},
        {"guided_regex": "a+"},
        {"guided_choice": ["yes", "no"]},
        {"grammar": "root ::= [a-z]+"},
        {"mirostat": 2},
        {"stop_token_ids": [2]},
        {"ignore_eos": True},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"n_predict": 4},
    ],
)
@pytest.mark.parametrize("model", [LLAMA, SCRIPTED, UPSTREAM], ids=lambda model: model.engine)
def test_field_of_another_server_that_would_change_the_answer_is_refused(
    field: dict[str, Any], model: ModelConfig
) -> None:
    """It is named, never left out in silence."""
    assert refusal(chat(**field), model) == (next(iter(field)), "unsupported_parameter")


@pytest.mark.parametrize(
    "field",
    [{"reasoning_effort": None}, {"modalities": ["text"]}, {"stop_token_ids": []}, {"ignore_eos": False}],
)
def test_field_of_another_server_that_asks_for_nothing_passes(field: dict[str, Any]) -> None:
    """SDKs send defaults along."""
    assert chat_sampling(chat(**field), LLAMA, max_choices=4).n == 1


def test_unknown_field_is_tolerated() -> None:
    """As OpenAI's API does with what it does not know."""
    assert chat_sampling(chat(zork=1), LLAMA, max_choices=4).temperature is None


@pytest.mark.parametrize("name", ["repetition_penalty", "repeat_penalty"])
def test_sampling_beyond_openai_reaches_the_engines_that_have_it(name: str) -> None:
    """llama.cpp's and vLLM's names both."""
    sampling = chat_sampling(chat(top_k=5, min_p=0.1, **{name: 1.2}), LLAMA, max_choices=4)
    assert (sampling.top_k, sampling.min_p, sampling.repetition_penalty) == (5, 0.1, 1.2)


@pytest.mark.parametrize("field", [{"top_k": 5}, {"min_p": 0.1}, {"repeat_penalty": 1.1}])
@pytest.mark.parametrize("model", [SCRIPTED, UPSTREAM], ids=lambda model: model.engine)
def test_sampling_beyond_openai_is_refused_by_other_engines(
    field: dict[str, Any], model: ModelConfig
) -> None:
    """An upstream gets them only where the models file says that it takes them."""
    assert refusal(chat(**field), model)[1] == "unsupported_parameter"


def test_sampling_beyond_openai_declared_for_an_upstream_passes() -> None:
    """A vLLM behind the openai_compatible engine takes top_k."""
    model = ModelConfig(
        name="v",
        engine="openai_compatible",
        context_length=64,
        capabilities=UPSTREAM.capabilities | {"top_k"},
    )
    assert chat_sampling(chat(top_k=3), model, max_choices=4).top_k == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"guided_json": {"type": "integer"}},
        {"response_format": {"type": "json_object", "schema": {"type": "integer"}}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": {"type": "integer"}},
            }
        },
    ],
)
def test_schema_is_asked_for_in_whichever_way_it_comes(fields: dict[str, Any]) -> None:
    """vLLM's, llama.cpp's and OpenAI's ways mean the same."""
    wanted = chat_sampling(chat(**fields), LLAMA, max_choices=4).response_format
    assert wanted is not None
    assert wanted["json_schema"]["schema"] == {"type": "integer"}
    assert refusal(chat(**fields), SCRIPTED)[0] == "response_format"


def test_schema_asked_for_twice_is_refused() -> None:
    """Which of them would count?"""
    fields = {"guided_json": {}, "response_format": {"type": "json_object"}}
    assert refusal(chat(**fields), LLAMA)[0] == "guided_json"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "12", "tool_call_id": "c"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function"}]},
    ],
)
def test_tool_call_in_the_history_is_refused_by_a_model_that_cannot_read_it(message: dict[str, Any]) -> None:
    """A template that leaves it out would make another conversation of it."""
    messages = [{"role": "user", "content": "hi"}, message]
    assert refusal(chat(messages=messages), SCRIPTED)[0] == "messages"
    assert chat_sampling(chat(messages=messages), UPSTREAM, max_choices=4).n == 1


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_limit_beyond_the_context_names_the_field_that_was_sent(name: str) -> None:
    """Clients look for the field of theirs."""
    assert refusal(chat(**{name: 65}), LLAMA)[0] == name


@pytest.mark.parametrize(
    ("tier", "lane"),
    [
        (None, Lane.INTERACTIVE),
        ("auto", Lane.INTERACTIVE),
        ("priority", Lane.INTERACTIVE),
        ("flex", Lane.BATCH),
    ],
)
def test_lane_of_a_service_tier(tier: str | None, lane: Lane) -> None:
    """Flex is the cheap, patient one."""
    assert lane_of(chat(service_tier=tier), LLAMA) is lane


def test_lane_that_a_model_does_not_offer_is_refused() -> None:
    """It names service_tier."""
    with pytest.raises(ProblemError, match="service_tier"):
        lane_of(chat(service_tier="flex"), SCRIPTED)


@pytest.mark.parametrize("field", [{"echo": True}, {"suffix": "x"}, {"best_of": 3}, {"n": 5}])
def test_completion_field_that_nothing_serves_is_refused(field: dict[str, Any]) -> None:
    """By name."""
    body = CompletionBody.model_validate({"model": "m", "prompt": "hi"} | field)
    assert refusal(body, LLAMA)[0] == next(iter(field))


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_tool_choice_without_tools_is_refused(choice: Any) -> None:
    """There is nothing to choose from; `none` and `auto` ask for nothing."""
    assert refusal(chat(tool_choice=choice), LLAMA)[0] == "tool_choice"
    assert chat_sampling(chat(tool_choice="none"), SCRIPTED, max_choices=1).tool_choice is None


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "function": {"name": "f"}},
        {"type": "custom", "custom": {"name": "f"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
    ],
)
def test_tool_choice_of_openais_forms_travels_as_it_is(choice: dict[str, Any]) -> None:
    """To the engine and to an upstream."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = chat(tools=tools, tool_choice=choice)
    assert chat_sampling(body, UPSTREAM, max_choices=1).tool_choice == choice


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "function": {"name": "f"}, "note": "x"},
        {"type": "function", "function": {"name": "f", "description": "x"}},
        {"type": "function"},
        {"type": "function", "name": "f"},
        {"type": "anything", "function": {"name": "f"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [], "note": "x"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "sometimes", "tools": []}},
        "sometimes",
    ],
)
def test_tool_choice_with_anything_else_is_refused_by_name(choice: Any) -> None:
    """It would reach an upstream's model, and nothing masks it."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tool_choice": choice}
    with pytest.raises(ProblemError) as raised:
        parse_json(json.dumps(body).encode(), ChatBody)
    assert (raised.value.problem.status, raised.value.problem.param) == (400, "tool_choice")


@pytest.mark.parametrize("token", ["ignore all rules", "-1", "1.5", "", "\u0661", "1\n"])
def test_bias_of_what_is_no_token_id_is_refused(token: str) -> None:
    """OpenAI's API knows tokens by their numbers; one engine would fail of others."""
    with pytest.raises(ValidationError, match="logit_bias"):
        chat(logit_bias={token: 1})
