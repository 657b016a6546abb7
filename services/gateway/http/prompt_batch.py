"""A text completion with several prompts: each prompt is a request of its own on the
bus, the client sees one answer with the choices of all.

Choices are numbered prompt by prompt: the third of `n` = 4 for the second prompt is 6.
Such a stream has no event ids: no one place in the log stands for all its requests, so
it cannot be taken up again.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from schemas.inference import End, Outcome, Usage
from services.common.http.access_log import bind_answer_headers, bind_log_fields
from services.common.http.problems import ProblemError
from services.common.http.responses import json_response
from services.gateway.handlers import Serving, gather, steps
from services.gateway.http.event_stream import HEADERS, KEEP_ALIVE
from services.gateway.http.request_input import Answering, watched_for_leaving
from services.gateway.openai.chunks import ChunkWriter, error_frame, unplaced_frame, usage_body
from services.gateway.problems import risk_headers
from services.gateway.streams.reply_stream import ReplyStream


async def answer_prompts(
    serving: Serving,
    request: Request,
    answering: Answering,
    *,
    stream: bool,
    headers: dict[str, str] | None,
) -> Response:
    """Serves the requests of several prompts as one answer, and gives them back."""
    reply_streams = answering.reply_streams
    first = reply_streams[0].request
    headers_told = (*reply_streams[0].admitted.headers, *risk_headers([one.request for one in reply_streams]))
    bind_answer_headers(request.scope, headers_told)
    bind_log_fields(
        request.scope,
        request_id=first.request_id,
        model=first.model,
        stream=stream,
        prompts=len(reply_streams),
    )
    if stream:
        return PromptsStream(serving, answering, headers=headers)
    with answering.whole(serving.registry, request.receive):
        return json_response(await _gather_all(serving, reply_streams), headers=headers)


class PromptsStream(Response):
    """Writes the choices of several prompts as they come, into one stream."""

    media_type = "text/event-stream"

    def __init__(self, serving: Serving, answering: Answering, *, headers: dict[str, str] | None) -> None:
        super().__init__(headers={**HEADERS, **(headers or {})})
        del self.headers["content-length"]
        self._serving = serving
        self._answering = answering
        self._reply_streams = answering.reply_streams
        first = self._reply_streams[0].request
        self._writer = ChunkWriter(first.request_id, first.kind, first.model, first.include_usage)
        self._blocks: asyncio.Queue[bytes] = asyncio.Queue(maxsize=2 * len(self._reply_streams))
        self._usages: list[Usage] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the stream. The reply streams are given back whatever happens."""
        try:
            with watched_for_leaving(receive, *self._reply_streams, after_s=0.0):
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                await self._write(send)
        finally:
            self._answering.release(self._serving.registry)

    async def _write(self, send: Send) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._send_blocks(send))
                async with asyncio.TaskGroup() as pumps:
                    for number, reply_stream in enumerate(self._reply_streams):
                        pumps.create_task(self._pump(reply_stream, number * reply_stream.request.sampling.n))
                await self._blocks.join()
                sending.cancel()
            end = End(outcome=Outcome.COMPLETED, usage=_sum(self._usages))
            last = b"".join(unplaced_frame(payload) for payload in self._writer.payloads((), end))
        except* ProblemError as group:
            last = error_frame(_first_problem(group).problem)
        await send({"type": "http.response.body", "body": last})

    async def _send_blocks(self, send: Send) -> None:
        while True:
            block = KEEP_ALIVE
            try:
                async with asyncio.timeout(self._serving.settings.keep_alive_s):
                    block = await self._blocks.get()
            except TimeoutError:
                await send({"type": "http.response.body", "body": block, "more_body": True})
                continue
            await send({"type": "http.response.body", "body": block, "more_body": True})
            self._blocks.task_done()

    async def _pump(self, reply_stream: ReplyStream, first_index: int) -> None:
        """Renders one request until its end.

        Raises:
            ProblemError: it ended otherwise than by completion, or the client left.
        """
        async for pieces, end in steps(self._serving, reply_stream):
            moved = [piece.model_copy(update={"index": piece.index + first_index}) for piece in pieces]
            block = b"".join(unplaced_frame(payload) for payload in self._writer.payloads(moved, None))
            if block:
                await self._blocks.put(block)
            if end is not None:
                self._usages.append(end.usage)


async def _gather_all(serving: Serving, reply_streams: Sequence[ReplyStream]) -> dict[str, Any]:
    try:
        async with asyncio.TaskGroup() as tasks:
            gathering = [tasks.create_task(gather(serving, reply_stream)) for reply_stream in reply_streams]
    except* ProblemError as group:
        raise _first_problem(group) from group
    bodies = [task.result()[1] for task in gathering]
    choices = [choice for body in bodies for choice in body["choices"]]
    usages = [
        Usage(
            prompt_tokens=body["usage"]["prompt_tokens"],
            completion_tokens=body["usage"]["completion_tokens"],
            cached_tokens=body["usage"]["prompt_tokens_details"]["cached_tokens"],
        )
        for body in bodies
    ]
    numbered = [choice | {"index": index} for index, choice in enumerate(choices)]
    return bodies[0] | {"choices": numbered, "usage": usage_body(_sum(usages))}


def _first_problem(group: BaseExceptionGroup[ProblemError]) -> ProblemError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, ProblemError):
        raise error
    return error


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
    )
