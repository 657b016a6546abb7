"""A request's pieces as one answer, for clients that do not stream."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas.inference import Logprob, Piece, Usage
from services.common.requests.request_ids import Kind, created_of
from services.gateway.openai.chunks import completion_logprobs, usage_body


@dataclass
class _Choice:
    texts: list[str] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)
    tool_calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    finish_reason: str | None = None


class WholeResponse:
    """Gathers pieces."""

    def __init__(self, request_id: str, *, kind: Kind, model: str, choices: int) -> None:
        self._request_id = request_id
        self._kind = kind
        self._model = model
        self._choices = [_Choice() for _ in range(choices)]

    def add(self, pieces: Iterable[Piece]) -> None:
        """Takes what was added to the choices."""
        for piece in pieces:
            choice = self._choices[piece.index]
            choice.texts.append(piece.text)
            choice.logprobs.extend(piece.logprobs or ())
            choice.finish_reason = piece.finish_reason or choice.finish_reason
            for call in piece.tool_calls or ():
                _join_call(choice.tool_calls, call)

    @property
    def text(self) -> str:
        """The first choice's text."""
        return "".join(self._choices[0].texts)

    def body(self, usage: Usage) -> dict[str, Any]:
        """The answer as OpenAI's API gives it."""
        render = _chat_choice if self._kind == "chat" else _completion_choice
        return {
            "id": self._request_id,
            "object": "chat.completion" if self._kind == "chat" else "text_completion",
            "created": created_of(self._request_id),
            "model": self._model,
            "choices": [render(index, choice) for index, choice in enumerate(self._choices)],
            "usage": usage_body(usage),
        }


def _chat_choice(index: int, choice: _Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(choice.texts), "refusal": None}
    if choice.tool_calls:
        message["tool_calls"] = [choice.tool_calls[key] for key in sorted(choice.tool_calls)]
        message["content"] = message["content"] or None
    logprobs = {"content": choice.logprobs, "refusal": None} if choice.logprobs else None
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish_reason}


def _completion_choice(index: int, choice: _Choice) -> dict[str, Any]:
    logprobs = completion_logprobs(tuple(choice.logprobs), offset=0) if choice.logprobs else None
    return {
        "index": index,
        "text": "".join(choice.texts),
        "logprobs": logprobs,
        "finish_reason": choice.finish_reason,
    }


def _join_call(calls: dict[int, dict[str, Any]], part: dict[str, Any]) -> None:
    """Joins a part of a tool call to what came of it before: the first part brings id
    and name, all bring arguments.
    """
    index = int(part.get("index", len(calls)))
    given = part.get("function") or {}
    call = calls.setdefault(
        index, {"id": None, "type": "function", "function": {"name": None, "arguments": ""}}
    )
    call["id"] = call["id"] or part.get("id")
    call["function"]["name"] = call["function"]["name"] or given.get("name")
    call["function"]["arguments"] += given.get("arguments") or ""
