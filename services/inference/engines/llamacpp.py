"""Models in GGUF files on llama.cpp, in this process, through xllamacpp: llama-server's
slots and continuous batching without its HTTP.

What one should know of it:

- Each choice of a request takes a slot of its own, so `n` choices are `n` generations
  whose prompt is shared through the slots' cache.
- Stop strings are found here and not by llama-server: it merges the log-probabilities
  of the tokens that it holds back.
- Continuation: the prompt and what was delivered are read again, then generation goes
  on; sampled text differs from an undisturbed run's. Output bound by a grammar
  (`response_format`, `tools`) cannot begin in the middle; it is generated again with
  the same seed and what was delivered is skipped.
- A request without a seed gets one from its id, so that every attempt at it has the
  same.
"""

import asyncio
import threading
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import xllamacpp

from services.common.requests.model_catalogue import ModelConfig
from services.inference.domain.choice_text import ChoiceText
from services.inference.domain.redelivery import Redelivery
from services.inference.engines.base import (
    ContextLengthError,
    EngineFailedError,
    FinishReason,
    GenerationRequest,
    InvalidRequestError,
    Piece,
    Sampling,
    TokenLogprob,
    Usage,
)
from services.inference.engines.formats.call_text import CallText
from services.inference.engines.formats.chat_messages import text_messages
from services.inference.engines.formats.grammar_compiler import GrammarCompiler
from services.inference.engines.formats.json_grammar import Constraint, GrammarCheck, wanted_constraint
from services.inference.engines.llamacpp_server import LlamaCppOptions, load_server
from services.inference.engines.thread_stream import ThreadStream

_STOP_TIMEOUT_S = 10.0

Chunk = Mapping[str, Any]


class LlamaCppEngine:
    """Serves one GGUF."""

    def __init__(self, config: ModelConfig, options: LlamaCppOptions) -> None:
        self.name = config.name
        self.slots = config.slots
        self.capabilities = config.capabilities
        self._config = config
        self._options = options
        self._grammars = GrammarCompiler()
        self._server: xllamacpp.Server | None = None
        self._closing = threading.Event()
        self._threads = ThreadPoolExecutor(
            max_workers=config.slots, thread_name_prefix=f"llamacpp-{config.name}"
        )

    async def start(self) -> None:
        """Load the GGUF. See `Engine.start`."""
        load = partial(load_server, self._config, self._options)
        self._server = await asyncio.get_running_loop().run_in_executor(self._threads, load)

    async def close(self) -> None:
        """What still runs is broken off."""
        self._closing.set()
        await self._grammars.close()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._server = None

    async def healthy(self) -> bool:
        """Between start and close."""
        return self._server is not None and not self._closing.is_set()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Piece | Usage, None]:
        """See `Engine.generate`."""
        if self._server is None or self._closing.is_set():
            raise EngineFailedError(f"model {self.name} is not loaded")
        if request.sampling.response_format or request.sampling.tools:
            constraint = await asyncio.to_thread(self._constraint, request.sampling)
            if constraint is not None:
                await self._grammars.check(constraint, tenant=request.tenant)
            choices = await asyncio.to_thread(self._choices, request, constraint)  # compiles it
        else:
            choices = self._choices(request, None)
        stream: _Stream = ThreadStream()
        bodies = [_body(request, choice, self._config, self._options) for choice in choices]
        run = partial(self._run, self._server, request.kind, stream)
        work = [self._threads.submit(run, choice, body) for choice, body in zip(choices, bodies, strict=True)]
        try:
            counted = False
            while not all(choice.finished for choice in choices):
                for choice, item in await stream.read():
                    piece = choice.take(item)
                    if choices[0].prompt_tokens and not counted:
                        counted = True
                        yield _usage(request, choices)
                    if piece and request.open_choices:
                        yield piece
        finally:
            stream.leave()
            await _settle(work)
        yield _usage(request, choices)

    def _constraint(self, sampling: Sampling) -> Constraint | None:
        return wanted_constraint(
            sampling,
            several_calls=self._options.parallel_tool_calls,
            longest=self._options.longest_json_value,
        )

    def _choices(self, request: GenerationRequest, constraint: Constraint | None) -> "list[_Choice]":
        budget = request.sampling.max_tokens or self._config.default_max_tokens
        return [_Choice(request, index, budget, constraint) for index in request.open_choices] or [
            _Choice(request, 0, 0, constraint)
        ]

    def _run(
        self, server: xllamacpp.Server, kind: str, stream: "_Stream", choice: "_Choice", body: dict[str, Any]
    ) -> None:
        """Runs in a thread until the generation ends, the choice needs no more, or
        nobody reads.
        """
        handle: Callable[..., None] = (
            server.handle_chat_completions if kind == "chat" else server.handle_completions
        )

        def stops(chunk: Chunk) -> bool:
            return choice.finished or self._closing.is_set() or not stream.put((choice, chunk))

        try:
            handle(body, stops)
        except Exception as error:  # noqa: BLE001  a thread's edge: the reader raises it
            stream.put((choice, error))
        else:
            stream.put((choice, EngineFailedError("llama.cpp ended the stream without a finish reason")))


class _Choice:
    """One choice's way from llama-server's chunks to pieces."""

    def __init__(
        self, request: GenerationRequest, index: int, budget: int | None, constraint: Constraint | None
    ) -> None:
        self.index = index
        self.constraint = constraint
        self.delivered, self.delivered_tokens = request.delivered_of(index)
        calls = request.calls_of(index)
        self.replays = constraint is not None and bool(self.delivered or calls)
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self._prompt_param = "messages" if request.kind == "chat" else "prompt"
        self._param = constraint.param if constraint else self._prompt_param
        self._text = _text_of(request, index, constraint)
        self._redelivery = Redelivery(self.delivered, calls) if self.replays else Redelivery("")
        self._check = GrammarCheck(constraint) if constraint else None
        self._predicted = 0
        self.tokens_left = None if budget is None else budget - (0 if self.replays else self.delivered_tokens)
        self._top_logprobs = request.sampling.top_logprobs

    @property
    def finished(self) -> bool:
        return self._text.finished

    @property
    def new_tokens(self) -> int:
        return self._text.tokens

    def take(self, item: Chunk | Exception) -> Piece | None:
        """The piece that a chunk gives, if any; raises what went wrong."""
        if self.finished:
            return None
        if isinstance(item, Exception):
            raise self._explained(item) from item
        if "error" in item:
            raise self._refused(item["error"])
        self._read_prompt_progress(item)
        if self.prompt_tokens and self.tokens_left is not None and self.tokens_left < 1:
            return self._text.write([], end="length")
        answer = item["choices"][0] if item.get("choices") else None
        return self._skip_delivered(self._take_answer(answer, item.get("timings") or {})) if answer else None

    def _take_answer(self, answer: Chunk, timings: Chunk) -> Piece | None:
        text = answer.get("text") if "text" in answer else (answer.get("delta") or {}).get("content")
        predicted = int(timings.get("predicted_n", self._predicted))
        new_tokens, self._predicted = predicted - self._predicted, predicted
        reason: FinishReason | None = answer.get("finish_reason")
        if self._check and text:
            self._check.follow(text)
        if not text and not reason:
            self._predicted -= new_tokens  # they come with the text that they are part of
            return None
        logprobs = _logprobs((answer.get("logprobs") or {}).get("content") or [], top=self._top_logprobs)
        padding = max(new_tokens, 1 if text else 0, len(logprobs)) - 1
        tokens = [""] * padding + [text or ""] if padding >= 0 else []
        return self._text.write(tokens, [None] * (len(tokens) - len(logprobs)) + logprobs, end=reason)

    def _skip_delivered(self, piece: Piece | None) -> Piece | None:
        return self._redelivery.rest_of(piece) if piece else None

    def _read_prompt_progress(self, chunk: Chunk) -> None:
        progress = chunk.get("prompt_progress")
        if progress:
            self.prompt_tokens = int(progress["total"])
            self.cached_tokens = int(progress.get("cache", 0))

    def _explained(self, error: Exception) -> Exception:
        if isinstance(error, ValueError) and not self._predicted:
            return InvalidRequestError(f"the model cannot take this request: {error}", param=self._param)
        return EngineFailedError(f"llama.cpp failed: {error}")

    def _refused(self, error: Chunk) -> Exception:
        message = str(error.get("message", error))
        if error.get("type") == "exceed_context_size_error":
            message = (
                f"the prompt has {error.get('n_prompt_tokens')} tokens and the context only "
                f"{error.get('n_ctx')}: shorten it"
            )
            return ContextLengthError(message, param=self._prompt_param)
        if 400 <= int(error.get("code", 500)) < 500 and not self._predicted:
            return InvalidRequestError(message, param=self._param)
        return EngineFailedError(f"llama.cpp failed: {message}")


def _text_of(request: GenerationRequest, index: int, constraint: Constraint | None) -> ChoiceText | CallText:
    stops = request.sampling.stop
    if constraint is None:
        return ChoiceText(index, stops, delivered=request.delivered_of(index)[0])
    if constraint.tools is None:
        return ChoiceText(index, stops)
    return CallText(index, stops, ids_from=f"{request.request_id}/{index}")


_Stream = ThreadStream[tuple[_Choice, Chunk | Exception]]


async def _settle(work: "list[Future[None]]") -> None:
    """Waits until the slots are free: a running step cannot be interrupted, the next
    one is not begun.
    """
    running = [asyncio.wrap_future(future) for future in work if not future.cancel()]
    if running:
        await asyncio.wait(running, timeout=_STOP_TIMEOUT_S)


def _usage(request: GenerationRequest, choices: list[_Choice]) -> Usage:
    first = choices[0]
    read_again = 0 if first.replays else first.delivered_tokens
    generated_again = sum(choice.delivered_tokens for choice in choices if choice.replays)
    completion = (
        sum(request.delivered_tokens) - generated_again + sum(choice.new_tokens for choice in choices)
    )
    prompt = max(first.prompt_tokens - read_again, 0)
    return Usage(
        prompt_tokens=prompt, completion_tokens=completion, cached_tokens=min(first.cached_tokens, prompt)
    )


def _logprobs(entries: list[Chunk], *, top: int) -> list[TokenLogprob | None]:
    return [
        TokenLogprob(
            token=entry["token"],
            logprob=entry["logprob"],
            top=tuple((other["token"], other["logprob"]) for other in entry["top_logprobs"][:top]),
        )
        for entry in entries
    ]


def _body(
    request: GenerationRequest, choice: _Choice, config: ModelConfig, options: LlamaCppOptions
) -> dict[str, Any]:
    sampling = request.sampling
    seed = sampling.seed if sampling.seed is not None else zlib.crc32(request.request_id.encode())
    body: dict[str, Any] = {
        "stream": True,
        "return_progress": True,
        "timings_per_token": True,
        "temperature": config.sampling.temperature if sampling.temperature is None else sampling.temperature,
        "top_p": config.sampling.top_p if sampling.top_p is None else sampling.top_p,
        "top_k": options.top_k if sampling.top_k is None else max(0, sampling.top_k),
        "min_p": options.min_p if sampling.min_p is None else sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty or 1.0,
        "seed": (seed + choice.index) % (2**32 - 1),  # the last value of 32 bits means: any
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logit_bias": dict(sampling.logit_bias),
        **({} if choice.tokens_left is None else {"max_tokens": max(1, choice.tokens_left)}),
        **_wanted_logprobs(request),
    }
    if request.kind == "completion":
        return body | _completion_fields(request, choice)
    return body | _chat_fields(request, choice)


def _wanted_logprobs(request: GenerationRequest) -> dict[str, Any]:
    if not request.sampling.logprobs:
        return {}
    top = max(1, request.sampling.top_logprobs)
    return {"logprobs": True, "top_logprobs": top} if request.kind == "chat" else {"logprobs": top}


def _completion_fields(request: GenerationRequest, choice: _Choice) -> dict[str, Any]:
    if request.sampling.response_format:
        raise InvalidRequestError("response_format belongs to chat completions", param="response_format")
    if not request.prompt:
        raise InvalidRequestError("the prompt is empty: there is nothing to complete", param="prompt")
    return {"prompt": request.prompt + choice.delivered}


def _chat_fields(request: GenerationRequest, choice: _Choice) -> dict[str, Any]:
    if not request.messages:
        raise InvalidRequestError("messages is empty: there is nothing to answer", param="messages")
    constraint = choice.constraint
    messages = text_messages(request.messages, constraint.tools if constraint else None)
    if choice.delivered and not choice.replays:
        if messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": ""})
        messages[-1]["content"] += choice.delivered
    return {"messages": messages} | ({"grammar": constraint.grammar} if constraint else {})
