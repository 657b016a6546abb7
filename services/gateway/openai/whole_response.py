"""A request's pieces as one answer, for clients that do not stream."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas.inference import Logprob, Piece, Usage
from services.common.requests.request_ids import RequestKind, created_of
from services.common.requests.tool_calls import ToolCalls, join_tool_calls
from services.gateway.openai.chunks import completion_logprobs, usage_body


@dataclass
class _Choice:
    texts: list[str] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)
    tool_calls: ToolCalls = ()
    finish_reason: str | None = None


class WholeResponse:
    """Gathers pieces."""

    def __init__(self, request_id: str, *, kind: RequestKind, model: str, choices: int) -> None:
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
            if piece.tool_calls:
                choice.tool_calls = join_tool_calls(choice.tool_calls, piece.tool_calls)

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
        message["tool_calls"] = [
            {name: value for name, value in call.items() if name != "index"} for call in choice.tool_calls
        ]
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
