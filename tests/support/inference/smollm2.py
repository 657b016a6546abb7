"""The default installation's model for tests, requests to it, and what one gave."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.common.requests.model_catalogue import ModelConfig, load_models
from services.inference.engines.base import Engine, GenerationRequest, Piece, Sampling, TokenLogprob, Usage

MODELS = Path(__file__).parents[3] / "infra" / "models" / "models.yaml"
COUNT = ({"role": "user", "content": "Count from 1 to 20"},)


def smollm2(**changes: Any) -> ModelConfig:
    """The default installation's model, with a small context so that a test's memory is
    small.
    """
    (model,) = load_models(MODELS)
    return model.model_copy(update={"context_length": 512, **changes})


@dataclass
class Answer:
    """What one generation gave, choice by choice."""

    texts: dict[int, str] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    usage: Usage | None = None


async def answer(engine: Engine, request: GenerationRequest) -> Answer:
    """Reads a generation to its end."""
    result = Answer()
    async with asyncio.timeout(60):
        async for item in engine.generate(request):
            if isinstance(item, Usage):
                result.usage = item
                continue
            result.pieces.append(item)
            result.texts[item.index] = result.texts.get(item.index, "") + item.text
            result.tokens[item.index] = result.tokens.get(item.index, 0) + item.tokens
            result.logprobs += item.logprobs or ()
            if item.finish_reason:
                result.reasons[item.index] = item.finish_reason
    return result


def chat(
    messages: tuple[Mapping[str, Any], ...] = COUNT,
    *,
    delivered: tuple[str, ...] = (),
    delivered_tokens: tuple[int, ...] = (),
    **sampling: Any,
) -> GenerationRequest:
    """A chat request, greedy unless told otherwise."""
    values = {"temperature": 0.0, "max_tokens": 24, **sampling}
    return GenerationRequest(
        "r-1",
        "chat",
        messages=messages,
        sampling=Sampling(**values),
        delivered=delivered,
        delivered_tokens=delivered_tokens,
    )


def completion(prompt: str, **sampling: Any) -> GenerationRequest:
    """A completion request, greedy unless told otherwise."""
    values = {"temperature": 0.0, "max_tokens": 24, **sampling}
    return GenerationRequest("r-1", "completion", prompt=prompt, sampling=Sampling(**values))
