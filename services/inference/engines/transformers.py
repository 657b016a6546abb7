"""Models of Hugging Face's format on torch, GPU or CPU, with transformers' continuous
batching.

What its batching cannot do is not among the engine's capabilities: seeds, penalties and
biases per request. Its log-probabilities are those after temperature and top_p, which
say nothing of the model's confidence, so they are not offered either. Traps that are
kept from here:

- A request longer than its cache kills the loop for everybody: lengths are checked
  before, and the cache is made large enough for all slots.
- Cancelling sends no last event, and leaves the request's handler behind: readers stop
  by themselves and remove it.
- A loop that died says nothing: readers look at it once a second, and the engine is no
  longer healthy.
- Handlers are called on the event loop; each output holds all tokens so far, so a slow
  reader needs no more than the latest.
"""

import asyncio
import itertools
import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from tokenizers.decoders import DecodeStream
from transformers import AutoModelForCausalLM, AutoTokenizer, ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching import RequestStatus
from transformers.utils import logging as hub_logging

from services.common.errors import ConfigError
from services.common.requests.model_catalogue import ModelConfig
from services.inference.domain.choice_text import ChoiceText
from services.inference.engines.base import (
    ContextLengthError,
    EngineFailedError,
    FinishReason,
    GenerationRequest,
    InvalidRequestError,
    Piece,
    Usage,
)
from services.inference.engines.formats.chat_text import plain_text

_LOOK_EVERY_S = 1.0
_STOP_TIMEOUT_S = 10.0
_GREEDY = 1e-4
"""Temperature 0: the likeliest token has all the probability, short of exact ties."""


class TransformersOptions(BaseModel):
    """The engine's options in the models file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="A folder, or a name on the Hugging Face hub.")
    revision: str | None = Field(default=None, description="Commit of the model on the hub.")
    device: str = Field(default="auto", description="cuda, cuda:1, cpu; auto: the GPU if there is one.")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    page_size: int = Field(default=32, ge=4, description="Tokens in one page of the cache.")
    max_batch_tokens: int = Field(
        default=512, ge=1, description="Tokens computed in one step, of all requests together."
    )
    seed: int | None = Field(default=None, description="Of the engine's sampling as a whole.")


class TransformersEngine:
    """Serves one model from one continuous batch."""

    def __init__(self, config: ModelConfig, options: TransformersOptions) -> None:
        self.name = config.name
        self.slots = config.slots
        self.capabilities = config.capabilities
        self._config = config
        self._options = options
        self._tokenizer: Any = None
        self._manager: Any = None
        self._end_tokens: frozenset[int] = frozenset()
        self._attempts = itertools.count()

    async def start(self) -> None:
        """Load the model and start its loop. See `Engine.start`."""
        await asyncio.to_thread(self._load)

    async def close(self) -> None:
        """Stop the loop; what still runs fails."""
        manager, self._manager = self._manager, None
        if manager is not None:
            await asyncio.to_thread(_stop, manager)

    async def healthy(self) -> bool:
        """Whether the loop still turns."""
        return self._manager is not None and self._manager.is_running()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Piece | Usage, None]:
        """See `Engine.generate`."""
        manager = self._manager
        if manager is None or not manager.is_running():
            raise EngineFailedError(f"model {self.name} is not running")
        prompt = self._prompt(request)
        prompt_ids = self._encode(prompt)
        self._check_length(request, len(prompt_ids))
        yield Usage(prompt_tokens=len(prompt_ids), completion_tokens=sum(request.delivered_tokens))
        changed = asyncio.Event()
        choices = [
            _Choice(request, index, changed, self._tokenizer, self._end_tokens)
            for index in request.open_choices
        ]
        try:
            for choice in choices:
                self._add(
                    manager,
                    request,
                    choice,
                    self._encode(prompt + choice.delivered) if choice.delivered else prompt_ids,
                )
            while not all(choice.finished for choice in choices):
                for piece in [piece for choice in choices if (piece := choice.take())]:
                    yield piece
                await self._wait(manager, changed, choices)
        finally:
            for choice in choices:
                _cancel(manager, choice.id)
        new_tokens = sum(choice.new_tokens for choice in choices)
        yield Usage(
            prompt_tokens=len(prompt_ids), completion_tokens=sum(request.delivered_tokens) + new_tokens
        )

    def _add(
        self, manager: Any, request: GenerationRequest, choice: "_Choice", prompt_ids: list[int]
    ) -> None:
        sampling, defaults = request.sampling, self._config.sampling
        budget = sampling.max_tokens or self._config.default_max_tokens or self._config.context_length
        left = min(budget - choice.delivered_tokens, self._config.context_length - len(prompt_ids))
        if left < 1:
            choice.end_at_once()
            return
        choice.id = f"{request.request_id}/{choice.index}/{next(self._attempts)}"
        manager.register_result_handler(choice.id, choice.receive)
        accepted = manager.add_request(
            prompt_ids,
            request_id=choice.id,
            max_new_tokens=left,
            streaming=True,
            temperature=max(
                float(defaults.temperature if sampling.temperature is None else sampling.temperature), _GREEDY
            ),
            top_p=float(defaults.top_p if sampling.top_p is None else sampling.top_p),
        )
        if accepted is None:
            raise EngineFailedError(f"model {self.name} takes no more requests")

    async def _wait(self, manager: Any, changed: asyncio.Event, choices: "list[_Choice]") -> None:
        """Until there is something new; raises where nothing can come any more."""
        while not changed.is_set() and not all(choice.finished for choice in choices):
            try:
                await asyncio.wait_for(changed.wait(), timeout=_LOOK_EVERY_S)
            except TimeoutError:
                if not manager.is_running():
                    raise EngineFailedError(f"model {self.name}: the generation loop died") from None
        changed.clear()

    def _prompt(self, request: GenerationRequest) -> str:
        if request.kind == "completion":
            if not request.prompt:
                raise InvalidRequestError("the prompt is empty: there is nothing to complete", param="prompt")
            return request.prompt
        messages = [{**message, "content": plain_text(message)} for message in request.messages]
        try:
            return str(
                self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            )
        except Exception as error:  # templates raise whatever they like
            raise InvalidRequestError(
                f"the model's chat template refuses these messages: {error}", param="messages"
            ) from error

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _check_length(self, request: GenerationRequest, prompt_tokens: int) -> None:
        if prompt_tokens < self._config.context_length:
            return
        message = (
            f"the prompt has {prompt_tokens} tokens and the context only "
            f"{self._config.context_length}: shorten it"
        )
        raise ContextLengthError(message, param="messages" if request.kind == "chat" else "prompt")

    def _load(self) -> None:
        options = self._options
        hub_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(options.model, revision=options.revision)
            model: Any = AutoModelForCausalLM.from_pretrained(
                options.model, revision=options.revision, dtype=options.dtype
            )
        except (OSError, ValueError) as error:
            hint = (
                "" if Path(options.model).exists() else " (no such folder, so it was looked for on the hub)"
            )
            raise ConfigError(
                f"model {self.name}: {options.model!r} cannot be loaded{hint}: {error}"
            ) from error
        if "chat" in self.capabilities and not self._tokenizer.chat_template:
            raise ConfigError(
                f"model {self.name} has no chat template: name its capabilities without chat, or give its "
                "tokenizer one"
            )
        device = (
            ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
        )
        self._end_tokens = _end_tokens(model.generation_config, self._tokenizer)
        self._manager = model.to(device).init_continuous_batching(
            self._generation_config(), self._batching_config()
        )
        self._manager.start()

    def _generation_config(self) -> GenerationConfig:
        """Values that are no defaults: transformers prepares only for what is set here
        to be set per request.
        """
        values = {
            "do_sample": True,
            "temperature": 0.99,
            "top_p": 0.99,
            "top_k": 0,
            "eos_token_id": sorted(self._end_tokens) or -1,
        }
        return GenerationConfig.from_dict(values)

    def _batching_config(self) -> ContinuousBatchingConfig:
        options = self._options
        blocks_each = math.ceil(self._config.context_length / options.page_size) + 1
        return ContinuousBatchingConfig(
            page_size=options.page_size,
            num_blocks=blocks_each * self.slots,
            max_batch_tokens=max(options.max_batch_tokens, self.slots),
            per_request_processors=True,
            seed=options.seed,
        )


class _Choice:
    """One choice's way from token ids to pieces."""

    def __init__(
        self,
        request: GenerationRequest,
        index: int,
        changed: asyncio.Event,
        tokenizer: Any,
        end_tokens: frozenset[int],
    ) -> None:
        self.index = index
        self.id = ""
        self.delivered, self.delivered_tokens = request.delivered_of(index)
        self._changed = changed
        self._tokenizer = tokenizer
        self._end_tokens = end_tokens
        self._text = ChoiceText(index, request.sampling.stop, delivered=self.delivered)
        self._decoder: DecodeStream | None = None
        self._latest: Any = None
        self._read = 0
        self._ends_at_once = False

    @property
    def finished(self) -> bool:
        return self._text.finished

    @property
    def new_tokens(self) -> int:
        return self._text.tokens

    def receive(self, output: Any) -> None:
        """Called on the event loop with everything generated so far."""
        self._latest = output
        self._changed.set()

    def end_at_once(self) -> None:
        """There is nothing left to generate."""
        self._ends_at_once = True
        self._changed.set()

    def take(self) -> Piece | None:
        """The piece that the newest tokens give, if any."""
        if self.finished:
            return None
        if self._ends_at_once:
            return self._text.write([], end="length")
        output, self._latest = self._latest, None
        if output is None:
            return None
        if output.status == RequestStatus.FAILED:
            raise EngineFailedError(f"transformers failed: {output.error}")
        new_ids = output.generated_tokens[self._read :]
        self._read += len(new_ids)
        end: FinishReason | None = None
        if output.status == RequestStatus.FINISHED:
            end = (
                "stop"
                if output.generated_tokens and output.generated_tokens[-1] in self._end_tokens
                else "length"
            )
        return self._text.write([self._decoded(output.prompt_ids, token) for token in new_ids], end=end)

    def _decoded(self, prompt_ids: list[int], token: int) -> str:
        """The text that a token completes; empty while a character lacks tokens.

        The prompt decides on a leading space.
        """
        if token in self._end_tokens:
            return ""
        if self._decoder is None:
            self._decoder = DecodeStream(ids=prompt_ids, skip_special_tokens=True)
        return self._decoder.step(self._tokenizer.backend_tokenizer, token) or ""


def _end_tokens(generation_config: GenerationConfig, tokenizer: Any) -> frozenset[int]:
    given = generation_config.eos_token_id
    ids = given if isinstance(given, list) else [given]
    return frozenset(token for token in [*ids, tokenizer.eos_token_id] if token is not None and token >= 0)


def _cancel(manager: Any, request_id: str) -> None:
    """Frees the request's place; for one that has ended it does nothing."""
    if not request_id:
        return
    handlers = manager.output_router.result_handlers
    if handlers.pop(request_id, None) is not None:
        manager.cancel_request(request_id)


def _stop(manager: Any) -> None:
    if manager.is_running():
        manager.stop(block=True, timeout=_STOP_TIMEOUT_S, hard_stop=True)
    manager.destroy()
