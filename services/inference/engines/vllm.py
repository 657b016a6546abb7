"""Models on vLLM's engine, in this process (it starts its GPU workers itself): for
GPUs, in an image of its own.

Written against vLLM 0.33 (`AsyncLLM`), whose pins do not go together with the rest of
Tocsin's, and tested with a stand-in for it only: it has not run on a GPU yet. Choices
share one vLLM request, so several choices cannot be continued after a failover; nor can
output bound by a grammar (`response_format`, `tools`), which cannot begin in the
middle. Grammars are llguidance's, as for llama.cpp, so vLLM's backend for them is set
to guidance. Stop strings are found here, so that tokens are counted with the text they
bring.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from vllm.config import StructuredOutputsConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from services.common.errors import ConfigError
from services.common.requests.model_catalogue import ModelConfig
from services.inference.domain.choice_text import ChoiceText
from services.inference.engines.base import (
    ContextLengthError,
    ContinuationError,
    EngineFailedError,
    FinishReason,
    GenerationRequest,
    InvalidRequestError,
    Piece,
    TokenLogprob,
    Usage,
)
from services.inference.engines.formats.call_text import CallText
from services.inference.engines.formats.chat_messages import text_messages
from services.inference.engines.formats.grammar_compiler import GrammarCompiler
from services.inference.engines.formats.json_grammar import Constraint, wanted_constraint

_STOP_TIMEOUT_S = 20.0


class VllmOptions(BaseModel):
    """The engine's options in the models file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="A folder, or a name on the Hugging Face hub.")
    engine_args: dict[str, Any] = Field(
        default_factory=dict,
        description="Further arguments of vLLM's AsyncEngineArgs: tensor_parallel_size, quantization, …",
    )


class VllmEngine:
    """Serves one model; vLLM batches, `slots` is its max_num_seqs."""

    def __init__(self, config: ModelConfig, options: VllmOptions) -> None:
        self.name = config.name
        self.slots = config.slots
        self.capabilities = config.capabilities
        self._config = config
        self._options = options
        self._engine: Any = None
        self._grammars = GrammarCompiler()
        self._attempts = itertools.count()

    async def start(self) -> None:
        """Load the model. vLLM binds itself to the running event loop, so this blocks
        it; nothing else is served yet.
        """
        arguments = {
            "model": self._options.model,
            "max_model_len": self._config.context_length,
            "max_num_seqs": self.slots,
            "structured_outputs_config": StructuredOutputsConfig(backend="guidance"),
        }
        try:
            self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments | self._options.engine_args))
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise ConfigError(
                f"model {self.name}: vLLM cannot load {self._options.model!r}: {error}"
            ) from error

    async def close(self) -> None:
        """End the workers; what still runs fails."""
        await self._grammars.close()
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.shutdown, _STOP_TIMEOUT_S)

    async def healthy(self) -> bool:
        """Whether vLLM's workers live."""
        if self._engine is None:
            return False
        try:
            await self._engine.check_health()
        except EngineDeadError:
            return False
        return True

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Piece | Usage, None]:
        """See `Engine.generate`."""
        if self._engine is None:
            raise EngineFailedError(f"model {self.name} is not loaded")
        constraint = wanted_constraint(request.sampling)
        if constraint is not None:
            await self._grammars.check(constraint, tenant=request.tenant)
        _check_continuation(request, constraint)
        tokenizer = self._engine.get_tokenizer()
        prompt = _prompt(request, tokenizer, constraint)
        prompt_ids = self._encoded(request, tokenizer, prompt)
        delivered, delivered_tokens = request.delivered_of(0)
        read_ids = self._encoded(request, tokenizer, prompt + delivered) if delivered else prompt_ids
        yield Usage(prompt_tokens=len(prompt_ids), completion_tokens=sum(request.delivered_tokens))
        left = self._tokens_left(request, len(read_ids), delivered_tokens) if request.open_choices else 0
        texts = [_text_of(request, index, constraint) for index in range(request.sampling.n)]
        if left < 1:
            for text in (texts[index] for index in request.open_choices):
                yield text.write([], end="length") or Piece(index=0, text="")
        else:
            async with aclosing(
                self._play(request, read_ids, self._sampling_params(request, left, constraint), texts)
            ) as pieces:
                async for piece in pieces:
                    yield piece
        completion = sum(request.delivered_of(index)[1] + text.tokens for index, text in enumerate(texts))
        yield Usage(prompt_tokens=len(prompt_ids), completion_tokens=completion)

    async def _play(
        self,
        request: GenerationRequest,
        prompt_ids: list[int],
        params: SamplingParams,
        texts: "list[ChoiceText | CallText]",
    ) -> AsyncGenerator[Piece, None]:
        attempt = f"{request.request_id}/{next(self._attempts)}"
        outputs = self._engine.generate({"prompt_token_ids": prompt_ids}, params, attempt)
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    for piece in _pieces(output, texts, top=request.sampling.top_logprobs):
                        yield piece
                    if all(text.finished for text in texts):
                        return
        except (VLLMClientError, ValueError) as error:
            raise InvalidRequestError(f"vLLM cannot take this request: {error}") from error
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineFailedError(f"vLLM failed: {error}") from error
        raise EngineFailedError("vLLM ended the stream without a finish reason")

    def _tokens_left(self, request: GenerationRequest, read_tokens: int, delivered_tokens: int) -> int:
        budget = request.sampling.max_tokens or self._config.default_max_tokens or self._config.context_length
        return min(budget - delivered_tokens, self._config.context_length - read_tokens)

    def _encoded(self, request: GenerationRequest, tokenizer: Any, text: str) -> list[int]:
        ids = list(tokenizer.encode(text, add_special_tokens=False))
        if len(ids) >= self._config.context_length and not request.delivered_of(0)[0]:
            message = (
                f"the prompt has {len(ids)} tokens and the context only "
                f"{self._config.context_length}: shorten it"
            )
            raise ContextLengthError(message, param="messages" if request.kind == "chat" else "prompt")
        return ids

    def _sampling_params(
        self, request: GenerationRequest, left: int, constraint: Constraint | None
    ) -> SamplingParams:
        sampling, defaults = request.sampling, self._config.sampling
        return SamplingParams(
            n=sampling.n,
            temperature=defaults.temperature if sampling.temperature is None else sampling.temperature,
            top_p=defaults.top_p if sampling.top_p is None else sampling.top_p,
            seed=sampling.seed,
            max_tokens=left,
            presence_penalty=sampling.presence_penalty,
            frequency_penalty=sampling.frequency_penalty,
            top_k=sampling.top_k or 0,
            min_p=sampling.min_p or 0.0,
            repetition_penalty=sampling.repetition_penalty or 1.0,
            logit_bias={int(token): bias for token, bias in sampling.logit_bias.items()} or None,
            logprobs=sampling.top_logprobs if sampling.logprobs else None,
            structured_outputs=StructuredOutputsParams(grammar=constraint.grammar) if constraint else None,
            output_kind=RequestOutputKind.DELTA,
        )


def _text_of(request: GenerationRequest, index: int, constraint: Constraint | None) -> ChoiceText | CallText:
    stops = request.sampling.stop
    if constraint is not None and constraint.tools is not None:
        return CallText(index, stops, ids_from=f"{request.request_id}/{index}")
    return ChoiceText(index, stops, delivered=request.delivered_of(index)[0])


def _check_continuation(request: GenerationRequest, constraint: Constraint | None) -> None:
    if not any(request.delivered) and not any(request.delivered_calls):
        return
    if request.sampling.n > 1:
        raise ContinuationError("several choices cannot be continued in one vLLM request")
    if constraint is not None:
        raise ContinuationError(
            "constrained output cannot be continued: its grammar cannot begin in the middle"
        )


def _prompt(request: GenerationRequest, tokenizer: Any, constraint: Constraint | None) -> str:
    if request.kind == "completion":
        if not request.prompt:
            raise InvalidRequestError("the prompt is empty: there is nothing to complete", param="prompt")
        return request.prompt
    messages = text_messages(request.messages, constraint.tools if constraint else None)
    try:
        return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    except Exception as error:  # templates raise whatever they like
        raise InvalidRequestError(
            f"the model's chat template refuses these messages: {error}", param="messages"
        ) from error


def _pieces(output: Any, texts: "list[ChoiceText | CallText]", *, top: int) -> list[Piece]:
    pieces = []
    for part in output.outputs:
        text = texts[part.index]
        if text.finished:
            continue
        tokens = [""] * (len(part.token_ids) - 1) + [part.text] if part.token_ids else []
        piece = text.write(tokens, _logprobs(part, top=top), end=_finish_reason(part.finish_reason))
        pieces += [piece] if piece else []
    return pieces


def _logprobs(part: Any, *, top: int) -> list[TokenLogprob | None]:
    found: list[TokenLogprob | None] = []
    for token, candidates in zip(part.token_ids, part.logprobs or (), strict=False):
        likeliest = sorted(candidates.values(), key=lambda candidate: -candidate.logprob)[:top]
        chosen = candidates[token]
        others = tuple((candidate.decoded_token or "", candidate.logprob) for candidate in likeliest)
        found.append(TokenLogprob(token=chosen.decoded_token or "", logprob=chosen.logprob, top=others))
    return found


def _finish_reason(reason: str | None) -> FinishReason | None:
    known: dict[str | None, FinishReason | None] = {None: None, "stop": "stop", "length": "length"}
    if reason not in known:
        raise EngineFailedError(f"vLLM ended the generation: {reason}")
    return known[reason]
