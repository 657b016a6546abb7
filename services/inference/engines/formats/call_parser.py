"""Text with tool calls in it, as it is generated, taken apart."""

import json
import zlib

from services.inference.engines.base import ToolCall
from services.inference.engines.formats.tools import CALL_BEGINS

_NAME_BEGINS = '{"name": '
_ARGUMENTS_BEGIN = ', "arguments": '


class CallParser:
    """Reads what the grammar of `json_grammar` lets through.

    A call's name comes with its first part, then its arguments as they grow. `ids_from`
    makes the calls' ids: another attempt at the same request gives the same.
    """

    def __init__(self, ids_from: str) -> None:
        self._ids_from = ids_from
        self._held = ""
        self._in_call = False
        self._arguments: _ObjectScanner | None = None
        self.calls = 0
        """Begun so far."""

    @property
    def holds(self) -> bool:
        """Whether text is held back that may begin a call, or one has begun."""
        return bool(self._held) or self._in_call

    def feed(self, text: str) -> tuple[str, tuple[ToolCall, ...]]:
        """The text outside of calls that may go out, and the parts of calls."""
        self._held += text
        outside: list[str] = []
        parts: list[ToolCall] = []
        while self._step(outside, parts):
            pass
        return "".join(outside), tuple(parts)

    def flush(self) -> str:
        """The text that is still held back, when no more comes; what is no call yet is
        none.
        """
        held, self._held = self._held, ""
        return "" if self.calls or self._in_call else held

    def _step(self, outside: list[str], parts: list[ToolCall]) -> bool:
        """Takes what can be taken; false where more text is needed."""
        if not self._in_call:
            return self._find_call(outside)
        if self._arguments is None:
            return self._read_name(parts)
        taken, self._held = self._arguments.take(self._held)
        if taken:
            parts.append(ToolCall(index=self.calls - 1, arguments=taken))
        if self._arguments.complete:
            self._arguments, self._in_call = None, False
            return True
        return False

    def _find_call(self, outside: list[str]) -> bool:
        before, begins, after = self._held.partition(CALL_BEGINS)
        if not begins:
            kept = _possible_beginning(self._held)
            if not self.calls:
                outside.append(self._held[: len(self._held) - kept])
            self._held = self._held[len(self._held) - kept :]
            return False
        if not self.calls:
            outside.append(before)
        self._held, self._in_call = after, True
        return True

    def _read_name(self, parts: list[ToolCall]) -> bool:
        head, begins, arguments = self._held.partition(_ARGUMENTS_BEGIN)
        if not begins:
            return False
        name = json.loads(head.strip().removeprefix(_NAME_BEGINS))
        self._held = arguments
        self._arguments = _ObjectScanner()
        parts.append(ToolCall(index=self.calls, id=self._id(), name=name))
        self.calls += 1
        return True

    def _id(self) -> str:
        seed = f"{self._ids_from}/{self.calls}".encode()
        return f"call_{zlib.crc32(seed):08x}{zlib.crc32(seed[::-1]):08x}{zlib.adler32(seed):08x}"


class _ObjectScanner:
    """Finds where a JSON object ends, whatever the pieces it comes in."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._escaped = False
        self.complete = False

    def take(self, text: str) -> tuple[str, str]:
        """What of the text is the object's, and what is behind it."""
        for place, character in enumerate(text):
            self._read(character)
            if self.complete:
                return text[: place + 1], text[place + 1 :]
        return text, ""

    def _read(self, character: str) -> None:
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._in_string = False
        elif character == '"':
            self._in_string = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            self.complete = self._depth == 0


def _possible_beginning(text: str) -> int:
    """How many characters at the text's end may begin a call."""
    for length in range(min(len(CALL_BEGINS) - 1, len(text)), 0, -1):
        if CALL_BEGINS.startswith(text[-length:]):
            return length
    return 0
