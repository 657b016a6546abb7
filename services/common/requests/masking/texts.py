"""What was asked and answered, as texts, and an end with them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.base import PromptPart
from schemas.inference import Delivered, InferenceCompleted, InferenceRequested

OPERATOR_ROLES = frozenset({"system", "developer"})
"""Whose messages are the operator's, not a user's."""


@dataclass(frozen=True, slots=True)
class RequestTexts:
    """What was said in a request: what was asked, one text a message, whose it was, and
    what was answered, one text a choice.
    """

    roles: tuple[str, ...]
    asked: tuple[str, ...] = field(repr=False)
    answered: tuple[str, ...] = field(repr=False)

    @property
    def all(self) -> tuple[str, ...]:
        """Every text, in the order in which it was said."""
        return (*self.asked, *self.answered)

    @property
    def prompt(self) -> str:
        """What was asked, as one text."""
        return "\n".join(self.asked)

    @property
    def response(self) -> str:
        """What was answered, as one text."""
        return "\n".join(self.answered)

    def with_texts(self, texts: tuple[str, ...]) -> "RequestTexts":
        """The same with other words: as many, in the order of `all`."""
        count = len(self.asked)
        return RequestTexts(self.roles, texts[:count], texts[count:])


def texts_of(request: InferenceRequested, choices: tuple[Delivered, ...]) -> RequestTexts:
    """The texts of a request and of its answer; a prompt without messages is a user's."""
    answered = tuple([choice.text for choice in choices])
    if request.prompt:
        return RequestTexts(("user",), (request.prompt,), answered)
    roles = tuple([str(message.get("role") or "user") for message in request.messages])
    asked = tuple([content_text(message.get("content")) for message in request.messages])
    return RequestTexts(roles, asked, answered)


def content_text(content: object) -> str:
    """The text of a message's content, which is a string or a list of parts: in one, as
    models read it.
    """
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "".join([str(part.get("text") or "") for part in parts if isinstance(part, Mapping)])


def with_texts(event: InferenceCompleted, texts: RequestTexts) -> InferenceCompleted:
    """An end that tells these texts, and whose the prompt's parts are."""
    parts = [
        PromptPart(role=role, chars=len(text)) for role, text in zip(texts.roles, texts.asked, strict=True)
    ]
    return event.model_copy(
        update={
            "prompt_text": texts.prompt,
            "response_text": texts.response,
            "prompt_parts": tuple(parts),
        }
    )
