"""A request's pieces as a response: its output items, and the events that tell of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.inference import End, InferenceRequested, Logprob, Piece, Usage
from services.common.http.problems import Problem
from services.common.requests.request_ids import created_of, suffix_of
from services.gateway.openai.responses.body import ResponsesBody
from services.gateway.problems import problem_of_end

Event = dict[str, Any]

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass
class _Message:
    id: str
    texts: list[str] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)

    def part(self) -> dict[str, Any]:
        text = "".join(self.texts)
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": self.logprobs}

    def item(self, status: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [self.part()]
        return {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": content}


@dataclass
class _Call:
    id: str
    call_id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    def item(self, status: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function_call",
            "call_id": self.call_id,
            "name": self.name,
            "arguments": "".join(self.arguments),
            "status": status,
        }


class ResponseWriter:
    """Turns pieces into a response, step by step; each step gives its events.

    Ids of items name the request, so that they can be looked up in the log.
    """

    def __init__(self, request: InferenceRequested, body: ResponsesBody) -> None:
        self._request = request
        self._body = body
        self._suffix = suffix_of(request.request_id)
        self._done: list[dict[str, Any]] = []
        self._open: _Message | _Call | None = None
        self._calls = 0
        self._finish = "stop"
        self._sequence = 0

    def opening(self) -> Iterator[Event]:
        """What stands before everything else."""
        yield self._event("response.created", response=self.response("in_progress"))
        yield self._event("response.in_progress", response=self.response("in_progress"))

    def events(self, pieces: Iterable[Piece], end: End | None) -> Iterator[Event]:
        """What a step adds."""
        for piece in pieces:
            yield from self._of_piece(piece)
        if end is None:
            return
        if (problem := problem_of_end(end)) is not None:
            yield from self.failure(problem)
            return
        yield from self._closed("incomplete" if self._finish in _INCOMPLETE else "completed")
        status = "incomplete" if self._finish in _INCOMPLETE else "completed"
        yield self._event(f"response.{status}", response=self.response(status, usage=end.usage))

    def failure(self, problem: Problem) -> Iterator[Event]:
        """What ends a response that is not completed: the SDKs raise at the second."""
        yield self._event("response.failed", response=self.response("failed", problem=problem))
        error = problem.openai_body()["error"]
        told = {"code": error["code"], "message": error["message"], "param": error["param"]}
        yield self._event("error", **told, error=error)

    def response(
        self, status: str, *, usage: Usage | None = None, problem: Problem | None = None
    ) -> dict[str, Any]:
        """The response as it stands."""
        body, request = self._body, self._request
        reason = _INCOMPLETE.get(self._finish) if status == "incomplete" else None
        return {
            "id": f"resp_{self._suffix}",
            "object": "response",
            "created_at": created_of(request.request_id),
            "status": status,
            "background": False,
            "error": {"code": "server_error", "message": problem.message} if problem else None,
            "incomplete_details": {"reason": reason} if reason else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": request.model,
            "output": list(self._done),
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": body.service_tier or "default",
            "store": False,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "text": {"format": (body.text and body.text.format) or {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": "disabled",
            "usage": _usage(usage) if usage else None,
            "user": body.user,
        }

    def _of_piece(self, piece: Piece) -> Iterator[Event]:
        if piece.text or piece.logprobs:
            yield from self._of_text(piece)
        for part in piece.tool_calls or ():
            yield from self._of_call(part)
        if piece.finish_reason:
            self._finish = piece.finish_reason
            if not self._done and self._open is None:
                yield from self._begun(_Message(f"msg_{self._suffix}"))

    def _of_text(self, piece: Piece) -> Iterator[Event]:
        if not isinstance(self._open, _Message):
            yield from self._closed("completed")
            yield from self._begun(_Message(self._message_id()))
        message = self._open
        if isinstance(message, _Message):
            message.texts.append(piece.text)
            message.logprobs.extend(piece.logprobs or ())
            place = {"item_id": message.id, "output_index": len(self._done), "content_index": 0}
            yield self._event(
                "response.output_text.delta", **place, delta=piece.text, logprobs=list(piece.logprobs or ())
            )

    def _of_call(self, part: dict[str, Any]) -> Iterator[Event]:
        function = part.get("function") or {}
        if part.get("id"):
            yield from self._closed("completed")
            call_id, name = str(part["id"]), str(function.get("name"))
            yield from self._begun(_Call(f"fc_{self._suffix}_{self._calls}", call_id, name))
            self._calls += 1
        call = self._open
        if isinstance(call, _Call) and (arguments := function.get("arguments")):
            call.arguments.append(arguments)
            yield self._event(
                "response.function_call_arguments.delta",
                item_id=call.id,
                output_index=len(self._done),
                delta=arguments,
            )

    def _begun(self, one: _Message | _Call) -> Iterator[Event]:
        self._open = one
        index = len(self._done)
        yield self._event("response.output_item.added", output_index=index, item=one.item("in_progress"))
        if isinstance(one, _Message):
            place = {"item_id": one.id, "output_index": index, "content_index": 0}
            yield self._event("response.content_part.added", **place, part=one.part())

    def _closed(self, status: str) -> Iterator[Event]:
        """Ends the item that is being written, if any."""
        one, self._open, index = self._open, None, len(self._done)
        if one is None:
            return
        if isinstance(one, _Message):
            place = {"item_id": one.id, "output_index": index, "content_index": 0}
            part = one.part()
            yield self._event(
                "response.output_text.done", **place, text=part["text"], logprobs=part["logprobs"]
            )
            yield self._event("response.content_part.done", **place, part=part)
        else:
            arguments = "".join(one.arguments)
            yield self._event(
                "response.function_call_arguments.done",
                item_id=one.id,
                output_index=index,
                name=one.name,
                arguments=arguments,
            )
        self._done.append(one.item(status))
        yield self._event("response.output_item.done", output_index=index, item=self._done[-1])

    def _message_id(self) -> str:
        """The first message has the answer's whole text behind its id."""
        messages = sum(item["type"] == "message" for item in self._done)
        return f"msg_{self._suffix}" + (f"_{messages}" if messages else "")

    def _event(self, kind: str, **fields: Any) -> Event:
        self._sequence += 1
        return {"type": kind, "sequence_number": self._sequence - 1, **fields}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
