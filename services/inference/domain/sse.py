"""Reading server-sent events, as the WHATWG HTML standard (section 9.2.6) interprets a
stream.
"""

import codecs


class EventTooLargeError(ValueError):
    """A single event is larger than anyone should send."""


class SseDecoder:
    """Turns bytes, however they are cut, into the data of the events that are complete.

    Comments and fields other than `data` are passed over; an event that the stream's
    end cuts off never comes out.
    """

    def __init__(self, *, limit: int = 4 * 1024 * 1024) -> None:
        self._text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line = ""
        self._data: list[str] = []
        self._limit = limit
        self._at_start = True
        self._after_return = False

    def feed(self, chunk: bytes) -> list[str]:
        """The data of each event that these bytes complete.

        Raises:
            EventTooLargeError: an event exceeds `limit` characters.
        """
        text = self._text.decode(chunk)
        if not text:
            return []
        *lines, self._line = (self._line + self._with_plain_newlines(text)).split("\n")
        events = [event for line in lines if (event := self._take_line(line)) is not None]
        if len(self._line) + sum(map(len, self._data)) > self._limit:
            raise EventTooLargeError(f"an event of more than {self._limit} characters")
        return events

    def _with_plain_newlines(self, text: str) -> str:
        if self._at_start:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        if self._after_return:
            text = text.removeprefix("\n")  # the other half of a line end that was cut in two
        self._after_return = text.endswith("\r")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _take_line(self, line: str) -> str | None:
        if line:
            name, _, value = line.partition(":")
            if name == "data":
                self._data.append(value.removeprefix(" "))
            return None
        if not self._data:
            return None
        event = "\n".join(self._data)
        self._data.clear()
        return event
