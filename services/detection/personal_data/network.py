"""E-mail, IP and MAC addresses.

Left alone: accounts on machines (`ssh user@host`), handles (`@name@server`), versions
that look like four octets, and addresses that are nobody's (loopback, unspecified,
documentation, multicast, masks, whole networks).
"""

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

_COMMAND_LINE = 120  # characters before an address that are searched for a command
_ACCOUNT_OF_A_COMMAND = re.compile(
    r"(?<![\w/.@-])(?:(?:ssh|scp|sftp|rsync|sshfs|mosh|autossh|ssh-copy-id|ssh-keyscan|lftp|telnet)"
    r"(?:\s++(?:-[\w-]++(?:[ =][^\s@-][^\s@]*+)?|[^\s@]*[./:~][^\s@]*+"
    r"|into|to|as|onto|in|sur|vers|auf|en|su))*+"
    r"|git\s++(?:clone|fetch|push|pull|ls-remote|remote\s++(?:add|set-url)|submodule\s++add)(?:\s++[^\s@]++){0,3})"
    r"\s++['\"]?\Z"
)
_REMOTE_PATH = re.compile(r":(?:[/~]|[\w.~-]++/|[\w-]++\.git\b)")
_URL_BEFORE = re.compile(r"://[^\s/@]*+\Z")

_IPV4 = re.compile(
    r"[0-9](?<![^\W_][0-9])(?<!\.[0-9])[0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![^\W_]|\.\w)"
)
_PREFIX = re.compile(r"/([0-9]{1,2})(?![0-9.])")
_PRODUCT_BEFORE = re.compile(r"(?:[=<>~!]=|@|[A-Za-z]-|(?<![\w./:-])[A-Za-z][\w.+-]{1,30}/)\Z")
_IN_AN_ADDRESS = re.compile(r"(?://|[=\[\"'@|,_]|[A-Za-z]:)\Z")
_MARKS_OF_ADDRESSES = "/=[\"'@|,_:"
_OF_A_VERSION = 40  # versions seldom have a part above it, random addresses seldom have none
_RESOLVERS = ("1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9")
_HEX = "0-9A-Fa-f"
# Both are found from their separators: a pattern that may begin with any letter would
# be tried at every letter.
_HEX_GROUP = re.compile(rf"[{_HEX}]{{0,4}}")
_TWO_COLONS = re.compile(rf":[{_HEX}]{{0,4}}:")
_COLONS = re.compile(rf"[{_HEX}]{{0,4}}+(?::[{_HEX}]{{0,4}}+){{2,8}}+(?:(?<=[0-9])\.[0-9.]{{5,11}})?")
_MAC_TAIL = re.compile(
    rf"([:-])(?<=[{_HEX}]{{2}}[:-])(?<![\w:.-][{_HEX}]{{2}}[:-])[{_HEX}]{{2}}"
    rf"(?:\1[{_HEX}]{{2}}){{4}}(?!\w|[:-]\w)"
    rf"|\.(?<=[{_HEX}]{{4}}\.)(?<![\w:.-][{_HEX}]{{4}}\.)[{_HEX}]{{4}}\.[{_HEX}]{{4}}(?!\w|\.\w)"
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
        if (
            start < match.start()
            and match.group(1).lower() not in word_set("file_endings")
            and not _is_account(text, start, match.start(), end)
        ):
            yield Finding(start, end, "EMAIL_ADDRESS", 0.95, "mailbox syntax")


def _is_account(text: str, start: int, at: int, end: int) -> bool:
    """Whether `name@host` is an account on a machine or a network and no mailbox:
    `git@host`, `@name@server`, `user@host:path`, a URL's user, `ssh user@host`.
    """
    if text[start - 1 : start] == "@" and not text[start - 2 : start - 1].isalnum():
        return True
    if text[start:at] == "git" or _REMOTE_PATH.match(text, end):
        return True
    before = text[max(0, start - _COMMAND_LINE) : start].rpartition("\n")[2]
    return bool(_URL_BEFORE.search(before) or _ACCOUNT_OF_A_COMMAND.search(before))


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
            and not _is_nobodys(match.group(), _PREFIX.match(passage.text, match.end()))
            and not _is_version(passage, match)
        ):
            yield Finding(match.start(), match.end(), "IP_ADDRESS", 0.9, "four octets")


def _is_nobodys(value: str, prefix: re.Match[str] | None) -> bool:
    """Whether an address belongs to no machine or person: loopback, this network,
    multicast and above, documentation (RFC 5737), or a network's own (`10.0.0.0/8`).
    """
    a, b, c, d = map(int, value.split("."))
    if a in (0, 127) or a >= 224 or (a, b, c) in ((192, 0, 2), (198, 51, 100), (203, 0, 113)):
        return True
    number = (a << 24) + (b << 16) + (c << 8) + d
    return (
        prefix is not None and int(prefix.group(1)) < 32 and number % (1 << (32 - int(prefix.group(1)))) == 0
    )


def _is_version(passage: Passage, match: re.Match[str]) -> bool:
    """Whether four numbers are a version: a product or a word for it stands before them,
    or all are small and nothing around speaks of a network.
    """
    start, end, value = match.start(), match.end(), match.group()
    before = passage.text[max(0, start - 34) : start]
    if passage.text.startswith((":", "/"), end) and not value.startswith("0"):
        return False  # a port or a prefix
    of_network = passage.last_before(vocabulary("network"), start, 40)
    is_small = max(map(int, value.split("."))) < _OF_A_VERSION and not value.startswith("10.")
    of_version = passage.last_before(vocabulary("version"), start, 40 if is_small else 12)
    last = before[-1:]
    if last and last in "=@-/" and _PRODUCT_BEFORE.search(before):
        return of_network < 0 or of_network < start - 12
    if (last and last in _MARKS_OF_ADDRESSES and _IN_AN_ADDRESS.search(before)) or of_version > of_network:
        return of_version > of_network
    return (
        is_small
        and of_network < 0
        and value not in _RESOLVERS
        and not passage.has_after(vocabulary("network"), end, 30)
    )


def _ipv6(text: str) -> Iterator[Finding]:
    done = -1
    for colons in _TWO_COLONS.finditer(text):
        start = _ipv6_start(text, *colons.span())
        match = _COLONS.match(text, start) if start >= max(done, 0) else None
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


def _ipv6_start(text: str, first: int, second: int) -> int:
    """Where an address with colons at `first` and just before `second` may begin: a
    group earlier, or after the colon of a label (`IP:2a02:…`); -1 where none can.
    """
    start = first
    while start > 0 and first - start < 5 and text[start - 1].isalnum():
        start -= 1
    if second - first > 2 and not _HEX_GROUP.fullmatch(text, start, first):
        return first + 1
    return -1 if text[start - 1 : start] in ("_", ".", ":") else start


def _is_ipv6(value: str) -> bool:
    """Whether the value is an IPv6 address that prose and code would not hold by chance
    (`a::b`).
    """
    groups = [group for group in value.split(":") if group]
    is_slice = len(groups) < 3 and all(len(group) < 3 for group in groups)  # `x[::2]`
    if is_slice or (value.count(":") != 7 and not any(c.isdigit() for c in value)):
        return False
    try:
        address = IPv6Address(value)
    except AddressValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or _is_sample(address))


def _is_sample(address: IPv6Address) -> bool:
    """Whether an address is kept for documentation (RFC 3849, RFC 9637), itself or as
    the IPv4 address that it maps.
    """
    mapped = address.ipv4_mapped
    if mapped is not None:
        return _is_nobodys(str(mapped), None)
    return address.packed[:4] == b"\x20\x01\x0d\xb8" or address.packed[:2] == b"\x3f\xff"


def _mac(text: str) -> Iterator[Finding]:
    for tail in _MAC_TAIL.finditer(text):
        start = tail.start() - (2 if tail.group(1) else 4)
        if text[start : tail.end()].translate(_SEPARATORS).lower() not in _NOBODY:
            yield Finding(start, tail.end(), "MAC_ADDRESS", 0.9, "six octets")


_SEPARATORS = {ord(c): None for c in ":-."}
