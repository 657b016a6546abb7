"""One choice's tokens on their way to the client, where they may be tool calls."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from services.inference.domain.choice_text import ChoiceText
from services.inference.engines.base import FinishReason, Piece, TokenLogprob
from services.inference.engines.formats.call_parser import CallParser


class CallText:
    """Turns tokens into pieces as `ChoiceText` does, and calls in them into parts of
    calls. Stop strings are looked for outside of calls only.
    """

    def __init__(self, index: int, stops: Sequence[str], *, ids_from: str) -> None:
        self._index = index
        self._text = ChoiceText(index, stops)
        self._parser = CallParser(ids_from)
        self._held_text = ""
        self._held_tokens = 0
        self._held_logprobs: list[TokenLogprob | None] = []
        self._call_tokens = 0

    @property
    def tokens(self) -> int:
        """Counted so far, over all pieces."""
        return self._text.tokens + self._call_tokens

    @property
    def finished(self) -> bool:
        """Whether the choice is over."""
        return self._text.finished

    def write(
        self,
        tokens: Iterable[str],
        logprobs: Sequence[TokenLogprob | None] = (),
        *,
        end: FinishReason | None = None,
    ) -> Piece | None:
        """The piece that new tokens give; see `ChoiceText.write`."""
        arrived = list(tokens)
        count = self._held_tokens + len(arrived)
        found = self._held_logprobs + list(logprobs)
        text, parts = self._parser.feed("".join(arrived))
        text = self._held_text + text + (self._parser.flush() if end else "")
        if not end and not parts and (self._parser.holds or not text):
            self._held_text, self._held_tokens, self._held_logprobs = text, count, found
            return None
        self._held_text, self._held_tokens, self._held_logprobs = "", 0, []
        if end == "stop" and self._parser.calls:
            end = "tool_calls"
        if not self._parser.calls:
            return self._text.write([""] * (count - 1) + [text] if count else [], found, end=end)
        written = self._text.write([text] if text else [], end=end) or Piece(index=self._index, text="")
        if written.finish_reason == "stop":  # a stop string before the call
            return written
        counted = count - (1 if text and count else 0)
        self._call_tokens += counted
        return replace(written, tokens=written.tokens + counted, tool_calls=parts)
