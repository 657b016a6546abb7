"""Values assigned to a name that tells, or said to be one, and authorisation headers."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from services.detection.finding import Finding
from services.detection.passage import Passage, Vocabulary
from services.detection.secrets.placeholders import entropy, is_placeholder
from services.detection.secrets.table import names

GENERIC = "SECRET_GENERIC_PASSWORD"
_OPERATOR = re.compile(
    r"""[\w.-]{0,24}+["'`\])]{0,2}+[ \t]{0,8}+(?:=>|:=|={1,3}|:{1,2}(?!//)|>(?=[^<\s]))\s{0,4}+"""
)
_SAID = re.compile(
    r"""(?: \w{1,12}){0,3}? ?(?:is|was|are|c['’]est|est|était|sont|ist|lautet|es|è|é)"""
    r"""(?: now| set to| the following)?[ :]{1,3}|(?:^|(?<= ))"""
)
_OPTION = re.compile(r"""[\w-]{0,16}+[ \t]{1,2}""")
_QUOTED = re.compile(r"""[bru]?(["'`])([^"'`\n]{1,512})\1|«\s?([^»\n]{1,128}?)\s?»""")
_BARE = re.compile(r"""[^\s"'`<>,;(){}\[\]|]{1,512}+""")
_QUERY_VALUE = re.compile(r"[^\s&\"'<>#]{1,512}+")
_BEARER = re.compile(r"(?:bearer|basic|token)[ ]{1,2}([\w.~+/-]{16,2000}={0,2})", re.IGNORECASE)
_CURL_USER = re.compile(r"(?:-u|--user)[ =]['\"]?[\w.@+-]{1,64}:([^\s'\"]{4,128})")
_KEY_OF_A_SECRET = ("api ", "access ", "secret ", "license ", "encryption ", "private ")
_GOES_ON = re.compile(r"[\w.-]")
_IDENTIFIER_BEFORE = 40


def assigned_secrets(passage: Passage) -> Iterator[Finding]:
    """Values assigned to a name that tells, or said to be one (`my password is …`), and
    authorisation headers.
    """
    yield from _named(passage, names().strong, strong=True)
    yield from _named(passage, names().weak, strong=False)
    if "curl" in passage.words:
        yield from (
            Finding(m.start(1), m.end(1), GENERIC, 0.85, "user of a curl call")
            for m in _CURL_USER.finditer(passage.text)
            if not is_placeholder(m.group(1))
        )
    if "bearer " in passage.lower or "basic " in passage.lower or "token " in passage.lower:
        for match in _BEARER.finditer(passage.text):
            if _looks_random(match.group(1)) and not is_placeholder(match.group(1)):
                yield Finding(match.start(1), match.end(1), GENERIC, 0.8, "authorisation header")


def _named(passage: Passage, vocabulary: Vocabulary, *, strong: bool) -> Iterator[Finding]:
    text, done = passage.text, -1
    for end in passage.hits(vocabulary):
        is_other_word = text[end - 4 : end].lower() == "pass" and _GOES_ON.match(text, end)  # `pass_name`
        value = _value_after(text, end) if end > done and not is_other_word else None
        if value is None:
            continue
        done = value.end
        candidate = text[value.start : value.end]
        if (
            is_placeholder(candidate)
            or (not strong and _is_harmless(passage.lower, end))
            or not _is_secret(candidate, value, strong=strong)
        ):
            continue
        if not value.is_quoted and text[value.end : value.end + 1] in ("(", "["):
            continue  # a call or an index: code that fetches the value
        is_aws = (
            len(candidate) == 40 and "aws" in passage.lower[max(0, end - _IDENTIFIER_BEFORE) : value.start]
        )
        kind = "SECRET_AWS_SECRET_KEY" if is_aws else GENERIC
        yield Finding(
            value.start, value.end, kind, 0.85 if value.is_assignment else 0.8, "assigned to a telling name"
        )


class _Value(NamedTuple):
    """A value given to a name: where it stands, whether by an operator, whether in
    quotes.
    """

    start: int
    end: int
    is_assignment: bool
    is_quoted: bool


def _value_after(text: str, end: int) -> _Value | None:
    """The value that a name ending at `end` is given: `= value`, `: "value"`, `is
    value`, `<password>value</password>`.
    """
    operator = _OPERATOR.match(text, end)
    said = (
        None if operator else (_OPTION.match(text, end) if _is_option(text, end) else _SAID.match(text, end))
    )
    begins = operator or said
    if begins is None or begins.end() == end:
        return None
    at = begins.end()
    quoted = _QUOTED.match(text, at)
    if quoted:
        group = 2 if quoted.group(2) is not None else 3
        return _Value(*quoted.span(group), operator is not None, is_quoted=True)
    bare = (_QUERY_VALUE if _is_query(text, end) else _BARE).match(text, at + (text[at : at + 1] in "\"'`"))
    is_other_tag = (
        text[at - 1] == ">"
        and text[at - 2] != "="
        and bare is not None
        and not text.startswith("</", bare.end())
    )
    if bare is None or is_other_tag or _LEFT_OUT.match(text, bare.end() - 3):
        return None
    stop = _without_stops(text, *bare.span())
    return _Value(bare.start(), stop, operator is not None, is_quoted=False) if stop > bare.start() else None


_LEFT_OUT = re.compile(r".{0,3}(?:\.\.\.|…|<[A-Za-z])")


def _without_stops(text: str, start: int, stop: int) -> int:
    """Leave out the marks that end a sentence or an item."""
    while (
        stop > start
        and text[stop - 1] in ".,:;?"
        and (stop == len(text) or text[stop].isspace() or text[stop] in ",;\"'")
    ):
        stop -= 1
    return stop


def _is_option(text: str, end: int) -> bool:
    """Whether the name is a command's option (`--password …`)."""
    return (
        "--" in text[max(0, end - 24) : end] and " " not in text[max(0, end - 24) : end].rpartition("--")[2]
    )


def _is_query(text: str, end: int) -> bool:
    """Whether the name is a parameter in a URL's query."""
    before = text[max(0, end - 32) : end]
    return max(before.rfind("?"), before.rfind("&")) > max(before.rfind(" "), before.rfind("\n"))


def _is_harmless(lower: str, end: int) -> bool:
    """Whether the whole identifier around a weak name says that its value is no secret."""
    start = end
    while (
        start > 0
        and end - start < _IDENTIFIER_BEFORE
        and (lower[start - 1].isalnum() or lower[start - 1] in "_-.")
    ):
        start -= 1
    identifier = lower[start : end + 8]
    is_bare_key = identifier[: end - start] == "key" and not lower[max(0, start - 11) : start].endswith(
        _KEY_OF_A_SECRET
    )
    return is_bare_key or any(word in identifier for word in names().harmless)


def _is_secret(text: str, value: _Value, *, strong: bool) -> bool:
    """Whether a value looks like a password, or, after a weak name such as `token`,
    random enough to be a key.
    """
    if " " in text or not any(c.isalnum() for c in text):
        return False
    if strong:
        return _is_password(text, value)
    return len(text) >= (10 if value.is_assignment else 14) and _looks_random(text)


def _is_password(text: str, value: _Value) -> bool:
    """Anything but prose and code where it is assigned, mixed characters where it is
    said.
    """
    if not 4 <= len(text) <= 256 or text.lower() in names().not_passwords:
        return False
    classes = _classes(text)
    if not value.is_assignment:
        mixes = any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
        return len(text) >= 6 and (classes >= 3 or mixes or len(_CAMEL.findall(text)) >= 2)
    if value.is_quoted:
        return (classes >= 2 or len(text) >= 6) and "://" not in text
    return classes >= 2 and not _CODE.fullmatch(text) and not _CAPITALISED.fullmatch(text)


_CODE = re.compile(
    r"[A-Za-z_][\w]*(?:(?:\.|->|::)[A-Za-z_]\w*)+|[a-z]+(?:_[a-z]+)+|[a-z]*(?:[A-Z][a-z]+)+|0x[0-9A-Fa-f]+|[\w]+\(.*|/[\w./-]*|[a-z][a-z0-9+.-]*://.*|[-+]?[0-9.,]+%?|[A-Z]+(?:_[A-Z]+)*"
)
_CAPITALISED = re.compile(r"[^\W\d_]{1,40}(?:[-'’][^\W\d_]{1,40})*")
_CAMEL = re.compile(r"(?<=[a-z])[A-Z]")
_CHANGES = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[a-z0-9]|(?<=[0-9])[A-Za-z]")


def _classes(value: str) -> int:
    """How many of lower case, upper case, digits and other marks the value mixes."""
    return sum(
        (
            any(c.islower() for c in value),
            any(c.isupper() for c in value),
            any(c.isdigit() for c in value),
            any(not c.isalnum() for c in value),
        )
    )


def _looks_random(value: str) -> bool:
    """Whether a value changes between cases and digits as words and dotted names do
    not, at a fair entropy.
    """
    if (
        not any(c.isalpha() for c in value)
        or _CODE.fullmatch(value)
        or entropy(value) < min(3.0, 0.75 * math.log2(max(len(value), 2)))
    ):
        return False
    return len(_CHANGES.findall(value)) >= max(3, len(value) // 8)
