"""What was asked and answered, as texts, and an end with them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.base import PromptPart
from schemas.inference import Delivered, InferenceCompleted, InferenceRequested
from services.detection.masking import find_placeholders

OPERATOR_ROLES = frozenset({"system", "developer"})
"""Whose messages are the operator's, not a user's."""


@dataclass(frozen=True, slots=True)
class RequestTexts:
    """What was said in a request: what was asked, one text a message, whose it was, and
    what was answered, one text a choice.

    `apart` has, for each message in several parts, these with line breaks between them:
    where one ends may be what tells a value. "" for the others.
    """

    roles: tuple[str, ...]
    asked: tuple[str, ...] = field(repr=False)
    answered: tuple[str, ...] = field(repr=False)
    apart: tuple[str, ...] = field(default=(), repr=False)

    @property
    def all(self) -> tuple[str, ...]:
        """Every text, in the order in which it was said, then those in parts again."""
        return (*self.asked, *self.answered, *filter(None, self.apart))

    @property
    def prompt(self) -> str:
        """What was asked, as one text."""
        return "\n".join(self.asked)

    @property
    def response(self) -> str:
        """What was answered, as one text."""
        return "\n".join(self.answered)

    def with_texts(self, texts: tuple[str, ...]) -> "RequestTexts":
        """The same with other words: as many, in the order of `all`. Of a message in
        several parts what shows less is taken.
        """
        count, end = len(self.asked), len(self.asked) + len(self.answered)
        asked, apart = list(texts[:count]), iter(texts[end:])
        for place, one in enumerate(self.apart):
            if one and _shows_less(in_parts := next(apart), asked[place]):
                asked[place] = in_parts
        return RequestTexts(self.roles, tuple(asked), texts[count:end])


def texts_of(request: InferenceRequested, choices: tuple[Delivered, ...]) -> RequestTexts:
    """The texts of a request and of its answer; a prompt without messages is a user's."""
    answered = tuple([choice.text for choice in choices])
    if request.prompt:
        return RequestTexts(("user",), (request.prompt,), answered)
    roles = tuple([str(message.get("role") or "user") for message in request.messages])
    asked = tuple([content_text(message.get("content")) for message in request.messages])
    apart = tuple([_parts_apart(message.get("content")) for message in request.messages])
    return RequestTexts(roles, asked, answered, apart if any(apart) else ())


def visible(text: str) -> int:
    """How many characters of a masked text are no placeholder's."""
    return len(text) - sum([end - start for start, end, _ in find_placeholders(text)])


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


def _shows_less(masked: str, than: str) -> bool:
    """Line breaks do not count: those between parts are ours."""
    return visible(masked.replace("\n", "")) < visible(than.replace("\n", ""))


def _parts_apart(content: object) -> str:
    if not isinstance(content, list) or len(content) < 2:
        return ""
    return "\n".join([str(part.get("text") or "") for part in content if isinstance(part, Mapping)])
