"""Request ids: `chatcmpl-<uuid7>` or `cmpl-<uuid7>`.

The time inside says where in the log a request's records begin.
"""

import re
from datetime import datetime
from typing import Literal

RequestKind = Literal["chat", "completion"]

_PREFIXES: dict[RequestKind, str] = {"chat": "chatcmpl", "completion": "cmpl"}
_AHEAD_S = 60.0
"""Clocks of gateways that have not yet learned the broker's may be so far ahead."""
_ID = re.compile(r"(?:chatcmpl|cmpl)-([0-9a-f]{12})7[0-9a-f]{3}[89ab][0-9a-f]{15}", re.ASCII)


def uuid7(time_ms: int, random_bits: int) -> str:
    """A version 7 UUID (RFC 9562, section 5.7) as 32 hex digits, from Unix milliseconds
    and 74 random bits.
    """
    high, low = random_bits >> 62 & 0xFFF, random_bits & (1 << 62) - 1
    return f"{time_ms << 80 | 7 << 76 | high << 64 | 2 << 62 | low:032x}"


def new_request_id(kind: RequestKind, *, time_ms: int, random_bits: int) -> str:
    """A request's id, in the form that OpenAI's clients know."""
    return f"{_PREFIXES[kind]}-{uuid7(time_ms, random_bits)}"


def time_ms_of(request_id: str) -> int | None:
    """When a request was made, in Unix milliseconds; None where this is no request id."""
    found = _ID.fullmatch(request_id)
    return int(found[1], 16) if found else None


def suffix_of(request_id: str) -> str:
    """What of a request's id other ids are made from: its 32 hex digits."""
    return request_id.rpartition("-")[2]


def request_id_of(suffix: str) -> str:
    """The id of the chat that other ids were made from."""
    return f"{_PREFIXES['chat']}-{suffix}"


def created_of(request_id: str) -> int:
    """The `created` of a request's answer, in Unix seconds: every gateway derives the
    same.
    """
    return (time_ms_of(request_id) or 0) // 1000


def may_be_in_log(time_ms: int, now: datetime, kept_s: float) -> bool:
    """Whether the log can hold the first records of a request of `time_ms`: they have
    not left it yet, and the time is not one that is still to come.
    """
    age_s = now.timestamp() - time_ms / 1000
    return -_AHEAD_S <= age_s <= kept_s
