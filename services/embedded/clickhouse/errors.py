"""Failures as ClickHouse reports them: a number, a name, a message, and the HTTP status
that belongs to the number.
"""

import re

_BAD_REQUEST = {6, 25, 26, 27, 36, 38, 40, 41, 43, 53, 62, 69, 70, 72, 117, 271, 374, 427, 457}
_NOT_FOUND = {46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 336, 372}
_FORBIDDEN = {164, 192, 193, 452, 497}
_STATUS = {
    **dict.fromkeys(_BAD_REQUEST, 400),
    **dict.fromkeys(_NOT_FOUND, 404),
    **dict.fromkeys(_FORBIDDEN, 403),
    48: 501,
    159: 408,
    194: 401,
    202: 503,
    1000: 404,
    209: 408,
    236: 503,
    516: 401,
}
_CODE = re.compile(r"Code: (\d+)\. ")
# What stands behind the message: its name, the version, its name once more.
_TAIL = re.compile(r"\s*\((?:version [\d.]+|([A-Z][A-Z0-9_]+))\)\.?\s*$")


class StoreError(Exception):
    """A refusal or failure that the client is told, with ClickHouse's error code and
    name.
    """

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.name = name
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status that ClickHouse sends with this code."""
        return _STATUS.get(self.code, 500)

    def text(self, version: str) -> str:
        """The line that ClickHouse puts in the body."""
        return f"Code: {self.code}. DB::Exception: {self.message} ({self.name}) (version {version} (chDB))\n"

    @classmethod
    def of_engine(cls, error: Exception) -> "StoreError":
        """What chDB raised: its message holds ClickHouse's, sometimes twice and behind
        words of its own.
        """
        if isinstance(error, cls):
            return error
        text = str(error)
        codes = list(_CODE.finditer(text))
        if not codes:
            return cls(1002, "UNKNOWN_EXCEPTION", text or type(error).__name__)
        message, name = text[codes[-1].end() :].removeprefix("DB::Exception: "), "UNKNOWN_EXCEPTION"
        while tail := _TAIL.search(message):
            message, name = message[: tail.start()], tail.group(1) or name
        return cls(int(codes[-1].group(1)), name, message)


class ClientGoneError(Exception):
    """The client closed its connection: nobody is left to answer."""
