"""Values assigned to a name that tells, or said to be one, and authorisation headers."""

import math
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import NamedTuple

from services.detection.finding import Finding
from services.detection.passage import Passage, Vocabulary
from services.detection.secrets.placeholders import entropy, is_nobodys, is_sample_login
from services.detection.secrets.table import names

GENERIC = "SECRET_GENERIC_PASSWORD"
_OPERATOR = re.compile(
    r"""[\w.-]{0,24}+["'`\])]{0,2}+(?:[ \t]{0,8}+(?:=>|:=|={1,3}|:{1,2}(?!//)|>(?=[^<\s]))"""
    r"""|\s{1,24}value\s?[:=])\s{0,4}+"""
)
_SAID = re.compile(
    r"""(?: \w{1,12}){0,3}? ?(?:is|was|are|c['’]est|est|était|sont|ist|lautet|es|è|é)"""
    r"""(?: now| set to| the following)?[ :]{1,3}"""
    r"""|(?: [^\W\d_]{1,16}){1,4}? ?[:=]\s{1,2}|(?:^|(?<= ))"""
)
# A line of configuration: the name is all that stands before the operator.
_OWN_LINE = re.compile(
    r"(?:^|\n)[ \t]*+(?:(?:export|set|setx|ENV|ARG|local|readonly|declare|-x|-|[>#*+$%]{1,2}|[0-9]{1,4}[:.)])"
    r"[ \t]*+){0,3}(?:\$env:)?[\"'`]?[\w.-]*+\Z"
)
_ENVIRONMENT = re.compile(r"[A-Z][A-Z0-9_]*=\Z")
_NEXT_FIELD = re.compile(r"""[,;&](?=\s*[\w.-]{1,40}\s?[=:]|\s|\Z)|</|>|\|(?=[\s|])|[,;|](?=[\w]{3,20}:)""")
_NEXT_PAIR = re.compile(r"""[;&](?=\s*[\w.-]{1,40}\s?=)""")
_CLOSED_BY = {")": "(", "]": "[", "}": "{"}
_OPTION = re.compile(r"""[\w-]{0,16}+[ \t]{1,2}""")
_QUOTED = re.compile(r"""[bru]?(["'`])([^"'`\n]{1,512})\1|«\s?([^»\n]{1,128}?)\s?»""")
_BARE = re.compile(r"""[^\s"'`<>,;(){}\[\]|]{1,512}+""")
_RUN = re.compile(r"""[^\s"'`]{1,512}+""")
_QUERY_VALUE = re.compile(r"[^\s&\"'<>#]{1,512}+")
_BEARER = re.compile(r"(?:bearer|basic|token)[ ]{1,2}([\w.~+/-]{16,2000}={0,2})", re.IGNORECASE)
_KEY_OF_A_SECRET = ("api ", "access ", "secret ", "license ", "encryption ", "private ")
_ABOUT_A_SECRET = re.compile(
    r"[_.-]?(?:file|path|hash|field|digest|length|len|policy|reset|url|uri|min|max|hint|prompt|label|env|ref|input|type|name"
    r"|expiry|expires|expiration|age|strength|rules?|required|changed|updated|manager|store|id|secretref|secretname)s?"
    r"(?:[_.-]\w*)?[\"'`\])]{0,2}[ \t]{0,4}(?:=|:)"
)
_GOES_ON = re.compile(r"[\w.-]")
_IDENTIFIER_BEFORE = 40


def assigned_secrets(passage: Passage) -> Iterator[Finding]:
    """Values assigned to a name that tells, or said to be one (`my password is …`), and
    authorisation headers.
    """
    yield from _named(passage, names().strong, strong=True)
    yield from _named(passage, names().weak, strong=False)
    if "bearer " in passage.lower or "basic " in passage.lower or "token " in passage.lower:
        for match in _BEARER.finditer(passage.text):
            value = match.group(1)
            if (
                _looks_random(value)
                and not is_nobodys(value, doubtful=passage.doubtful)
                and (passage.doubtful or not is_sample_login(*_basic_login(value)))
            ):
                yield Finding(match.start(1), match.end(1), GENERIC, 0.8, "authorisation header")


def _named(passage: Passage, vocabulary: Vocabulary, *, strong: bool) -> Iterator[Finding]:
    text, done = passage.text, -1
    for end in passage.hits(vocabulary):
        is_other_word = _ABOUT_A_SECRET.match(passage.lower, end) or (
            text[end - 4 : end].lower() == "pass" and _GOES_ON.match(text, end)  # `pass_name`
        )
        value = _value_after(text, end) if end > done and not is_other_word else None
        if value is None:
            continue
        done = value.end
        candidate = text[value.start : value.end]
        if (
            is_nobodys(candidate, doubtful=passage.doubtful)
            or (not strong and _is_harmless(passage.lower, end))
            or not _is_secret(candidate, value, strong=strong)
        ):
            continue
        is_aws = (
            len(candidate) == 40 and "aws" in passage.lower[max(0, end - _IDENTIFIER_BEFORE) : value.start]
        )
        kind = "SECRET_AWS_SECRET_KEY" if is_aws else GENERIC
        yield Finding(
            value.start, value.end, kind, 0.85 if value.is_assignment else 0.8, "assigned to a telling name"
        )


def _basic_login(value: str) -> tuple[str, str]:
    """User and password of basic authentication, empty where the value is no such pair."""
    try:
        user, _, password = b64decode(value, validate=True).decode("ascii").partition(":")
    except ValueError:
        return "", ""
    return user, password


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
    at += text.startswith(('"', "'", "`"), at)
    if _is_query(text, end):
        bare = _QUERY_VALUE.match(text, at)
        stop = _without_stops(text, *bare.span()) if bare else at
    else:
        stop = _bare_stop(text, end, at)
    is_other_tag = text[at - 1] == ">" and text[at - 2] != "=" and not text.startswith("</", stop)
    if stop == at or is_other_tag or _LEFT_OUT.match(text, stop - 3):
        return None
    return _Value(at, stop, operator is not None, is_quoted=False)


def _bare_stop(text: str, name_end: int, at: int) -> int:
    """Where a value without quotes ends, `at` where there is none or code instead.

    In a line of its own in a file of configuration it goes on to the next white space;
    elsewhere a mark that parts fields, or a bracket that it does not open, ends it.
    """
    run = _RUN.match(text, at)
    if run is None or text[at] in "<|>&*@" or (text[at] in "({[" and not _is_environment(text, at)):
        return at
    stop = run.end()
    if _is_call(text, at, stop):
        return at
    if not _is_environment(text, at):
        next_field = _NEXT_PAIR if _is_own_line(text, name_end) else _NEXT_FIELD
        cut = next_field.search(text, at, stop)
        stop = _balanced(text, at, cut.start() if cut else stop)
    return _without_stops(text, at, stop)


def _is_own_line(text: str, name_end: int) -> bool:
    """Whether a name that ends at `name_end` begins its line."""
    lowest = max(0, name_end - 80)
    start = text.rfind("\n", lowest, name_end)
    if start < 0 < lowest:
        return False
    return _OWN_LINE.search(text, max(start, lowest), name_end) is not None


def _is_environment(text: str, at: int) -> bool:
    """Whether a value is given as in a file of environment variables: `DB_PASS=…`."""
    return _ENVIRONMENT.search(text, max(0, at - 48), at) is not None


def _is_call(text: str, at: int, stop: int) -> bool:
    """Whether a value is code that fetches one: `getpass()`, `os.environ["X"]`,
    `get(a, b)`; a bracket that its line never closes is part of a password.
    """
    bracket = min((place for mark in "([" if (place := text.find(mark, at, stop)) > at), default=-1)
    if bracket < 0 or not text[at:bracket].replace(".", "").replace("_", "").replace("::", "").isalnum():
        return False
    line_end = text.find("\n", stop)
    closing = ")" if text[bracket] == "(" else "]"
    is_closed = closing in text[bracket : line_end if line_end >= 0 else min(len(text), stop + 200)]
    return (
        (is_closed or stop == bracket + 1)
        and (text[at].isalpha() or text[at] == "_")
        and not any(c.isdigit() for c in text[at:bracket])
    )


def _balanced(text: str, start: int, stop: int) -> int:
    """The end without brackets that close what the value does not open."""
    while stop > start and (opening := _CLOSED_BY.get(text[stop - 1])):
        if text.count(opening, start, stop) >= text.count(text[stop - 1], start, stop):
            break
        stop -= 1
    return stop


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
    """Whether the name is a command's option (`--password …`), or a variable that is
    set without an operator (`ENV X_PASSWORD …`).
    """
    return _SET.search(text, max(0, end - 48), end) is not None or (
        "--" in text[max(0, end - 24) : end] and " " not in text[max(0, end - 24) : end].rpartition("--")[2]
    )


_SET = re.compile(r"(?:^|\n)[ \t]*(?:ENV|setx) [A-Z][A-Z0-9_]*\Z")


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
    if not any(c.isalnum() for c in text):
        return False
    if " " in text:
        return strong and value.is_quoted and text.count(" ") == 1 and _classes(text.replace(" ", "")) >= 3
    if strong:
        return _is_password(text, value)
    return len(text) >= (10 if value.is_assignment else 14) and _looks_random(text)


def _is_password(text: str, value: _Value) -> bool:
    """Anything but prose and code where it is assigned, mixed characters where it is
    said.
    """
    if not 4 <= len(text) <= 256 or text.lower() in names().not_passwords or _HASH.match(text):
        return False
    classes = _classes(text)
    if not value.is_assignment:
        mixes = any(c.isdigit() for c in text) and any(c.isalpha() for c in text)
        return len(text) >= 6 and (classes >= 3 or mixes or len(_CAMEL.findall(text)) >= 2)
    if value.is_quoted:
        return (classes >= 2 or len(text) >= 6) and "://" not in text
    return classes >= 2 and not _CODE.fullmatch(text) and not _CAPITALISED.fullmatch(text)


_CODE = re.compile(
    r"[A-Za-z_][\w]*(?:(?:\.|->|::)[A-Za-z_]\w*)+|[a-z]+(?:_[a-z]+)+|[a-z]*(?:[A-Z][a-z]+)+|0x[0-9A-Fa-f]+|[\w.]+\(.*\)[;,]?|(?:~|\.{0,2})/[\w./-]*|![A-Za-z]+|(?:\w+(?::\w+)?\|)+\w+(?::\w+)?|[a-z][a-z0-9+.-]*://.*|[-+]?[0-9.,]+%?|[A-Z]+(?:_[A-Z]+)*"
)
_CAPITALISED = re.compile(r"[^\W\d_]{1,40}(?:[-'’][^\W\d_]{1,40})*")
_HASH = re.compile(r"\$(?:[1256y]|2[abxy]|argon2\w*|pbkdf2[\w-]*|scrypt)\$")
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
