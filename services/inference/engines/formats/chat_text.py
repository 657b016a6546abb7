"""What a chat message says, as text."""

from collections.abc import Mapping
from typing import Any

from services.inference.engines.base import InvalidRequestError


def plain_text(message: Mapping[str, Any]) -> str:
    """A message's content: itself, or its text parts in one.

    Raises:
        InvalidRequestError: a part is not text.
    """
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for part in content:
        if part.get("type") != "text":
            raise InvalidRequestError(
                f"content part of type {part.get('type')!r}: only text can be read", param="messages"
            )
        texts.append(str(part.get("text", "")))
    return "".join(texts)
