"""E-mail, IP and MAC addresses."""

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address

from services.detection.finding import Finding
from services.detection.passage import Passage
from services.detection.personal_data.words import vocabulary, word_set

# RFC 5321 allows 64 characters before the @. Quoted local parts and the standard's
# rarer marks are left out: in prose they are punctuation.
_AT_DOMAIN = re.compile(
    r"(?<=[\w+~%-])@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}([^\W\d_]{2,24}|xn--[a-z0-9-]{2,59})(?![\w-])"
)
_LOCAL_MARKS = frozenset("_.+-%'!#$~")
_OBFUSCATED = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64} ?[\[({] ?(?:at|arobase|a) ?[\])}] ?[\w-]{1,63}(?: ?(?:\.|[\[({] "
    r"?(?:dot|point) ?[\])}]) ?[\w-]{1,63}){1,4}",
    re.IGNORECASE,
)

_IPV4 = re.compile(r"[0-9](?<![\w.][0-9])[0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?!\w|\.\w)")
_ROUND_VERSION = re.compile(r"[1-9]\.0\.0\.0")  # a version more often than a network
_HEX = "0-9A-Fa-f"
# Both are found from their separators: a pattern that may begin with any letter would
# be tried at every letter.
_TWO_COLONS = re.compile(rf":[{_HEX}]{{0,4}}:")
_COLONS = re.compile(rf"[{_HEX}]{{0,4}}+(?::[{_HEX}]{{0,4}}+){{2,8}}+(?:(?<=[0-9])\.[0-9.]{{5,11}})?")
_MAC_TAIL = re.compile(
    rf"(?<=[{_HEX}]{{2}})(?<![\w:.-][{_HEX}]{{2}})([:-])[{_HEX}]{{2}}(?:\1[{_HEX}]{{2}}){{4}}(?!\w|[:-]\w)"
    rf"|(?<=[{_HEX}]{{4}})(?<![\w:.-][{_HEX}]{{4}})\.[{_HEX}]{{4}}\.[{_HEX}]{{4}}(?!\w|\.\w)"
)
_NOBODY = frozenset({"000000000000", "ffffffffffff"})


def recognise(passage: Passage) -> Iterator[Finding]:
    """E-mail, IP and MAC addresses of a passage."""
    text = passage.text
    if "@" in text:
        yield from _emails(text)
    if "[at" in passage.lower or "(at" in passage.lower or "arobase" in passage.lower:
        yield from (
            Finding(m.start(), m.end(), "EMAIL_ADDRESS", 0.85, "written-out address")
            for m in _OBFUSCATED.finditer(text)
        )
    if text.count(".") >= 3:
        yield from _ipv4(passage)
    if text.count(":") >= 2:
        yield from _ipv6(text)
    if text.count(":") >= 5 or text.count("-") >= 5 or text.count(".") >= 2:
        yield from _mac(text)


def _emails(text: str) -> Iterator[Finding]:
    """Addresses, found from each @ outwards, so that the cost is linear in the number
    of @.
    """
    for match in _AT_DOMAIN.finditer(text):
        start, end = _local_start(text, match.start()), match.end()
        is_remote_path = (
            text[end : end + 1] == ":" and text[end + 1 : end + 2].isalpha()
        )  # git@host:owner/repository
        if (
            start < match.start()
            and not is_remote_path
            and match.group(1).lower() not in word_set("file_endings")
        ):
            yield Finding(start, end, "EMAIL_ADDRESS", 0.95, "mailbox syntax")


def _local_start(text: str, at: int) -> int:
    """Where the local part that ends at `at` begins."""
    start = at
    while start > 0 and at - start < 64 and (text[start - 1].isalnum() or text[start - 1] in _LOCAL_MARKS):
        start -= 1
    while start < at and text[start] in ".'-!#$%~":
        start += 1
    return start


def _ipv4(passage: Passage) -> Iterator[Finding]:
    for match in _IPV4.finditer(passage.text):
        is_valid = all(octet == str(int(octet)) and int(octet) < 256 for octet in match.group().split("."))
        if (
            is_valid
            and not _ROUND_VERSION.fullmatch(match.group())
            and passage.last_before(vocabulary("version"), match.start(), 10) < 0
        ):
            yield Finding(match.start(), match.end(), "IP_ADDRESS", 0.9, "four octets")


def _ipv6(text: str) -> Iterator[Finding]:
    done = -1
    for colons in _TWO_COLONS.finditer(text):
        start = colons.start()
        while start > 0 and colons.start() - start < 5 and text[start - 1].isalnum():
            start -= 1
        if start < done or text[start - 1 : start] in ("_", ".", ":"):
            continue
        match = _COLONS.match(text, start)
        if match is None:
            continue
        done = end = match.end()
        if text[end - 1] == ":" and text[end - 2] != ":":
            end -= 1
        is_index = text[start - 1 : start] == "[" and text[start - 2 : start - 1].isalnum()
        if (
            end - start >= 3
            and not is_index
            and not text[end : end + 1].isalnum()
            and _is_ipv6(text[start:end])
        ):
            yield Finding(start, end, "IP_ADDRESS", 0.9, "RFC 4291 syntax")


def _is_ipv6(value: str) -> bool:
    """Whether the value is an IPv6 address that prose and code would not hold by chance
    (`a::b`).
    """
    groups = [group for group in value.split(":") if group]
    is_slice = len(groups) < 3 and all(len(group) < 3 for group in groups) and value != "::1"  # `x[::2]`
    if is_slice or (value.count(":") != 7 and not any(c.isdigit() for c in value)):
        return False
    try:
        IPv6Address(value)
    except AddressValueError:
        return False
    return True


def _mac(text: str) -> Iterator[Finding]:
    for tail in _MAC_TAIL.finditer(text):
        start = tail.start() - (2 if tail.group(1) else 4)
        if text[start : tail.end()].translate(_SEPARATORS).lower() not in _NOBODY:
            yield Finding(start, tail.end(), "MAC_ADDRESS", 0.9, "six octets")


_SEPARATORS = {ord(c): None for c in ":-."}
