"""Credentials in text: provider formats, private keys, connection strings, and values
assigned to names that tell.

Nothing is called a secret for its entropy alone: commit hashes, digests and base64
prose are as random as keys are.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from services.detection.finding import Finding, resolve_overlaps
from services.detection.passage import Passage, Vocabulary

GENERIC = "SECRET_GENERIC_PASSWORD"
_TABLE = Path(__file__).with_name("formats.yaml")
_TOKEN = re.compile(r"[A-Za-z0-9](?<![A-Za-z0-9_-][A-Za-z0-9])[\w.+/=~:-]{13,}+")
_PEM = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[\sA-Za-z0-9+/=,:\\.-](?!-{4})){0,8192}+[A-Za-z0-9+/=\s\\]{0,3}(?:-{4,5}END [A-Z0-9 ]{0,40}-{4,5})?"
)
_PUTTY = re.compile(r"PuTTY-User-Key-File-[23]:[^\0]{20,4000}?Private-MAC: [0-9a-f]{40,64}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}\Z")
_AUTHORITY = re.compile(
    r"://([^\s:/?#@\"'<>]{0,128}):([^\s/?#@\"'<>]{1,256}|[^\s\"'<>]{1,64})@[^\s\"'<>`)\],;]{1,300}"
)
_AZURE = re.compile(
    r"(?:DefaultEndpointsProtocol=https?;[^\s\"'<>]{0,300}?Account(?:Name|Key)|Endpoint=sb://[^\s;\"']{1,200};SharedAccessKeyName|HostName=[^\s;\"']{1,200};SharedAccessKey|AccountEndpoint=https://[^\s;\"']{1,200};AccountKey)[^\s\"'<>]{10,600}",
    re.IGNORECASE,
)
# Server=…;Database=…;Password=…; as ADO.NET and ODBC write it: fields taken once, never
# given back.
_FIELD = r"[A-Za-z][A-Za-z ]{1,30}+=[^;=\n\"']{0,200}+"
_ADO = re.compile(
    r"(?<![A-Za-z])(?:server|data source|host|address|driver|user id|uid|initial "
    rf"catalog|database)=[^;=\n\"']{{1,200}}+(?:;\s?{_FIELD}){{1,12}}+;?",
    re.IGNORECASE,
)
_ADO_PASSWORD = re.compile(r";\s?(?:password|pwd)=([^;]{3,200})", re.IGNORECASE)
_SLACK_HOOK = re.compile(
    r"https://hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{30,60}"
)
_TEAMS_HOOK = re.compile(
    r"https://[a-z0-9-]{1,60}\.webhook\.office\.com/webhookb2/[\w@-]{20,120}/IncomingWebhook/[\w/-]{20,160}"
)
_DISCORD_HOOK = re.compile(
    r"https://(?:ptb\.|canary\.)?discord(?:app)?\.com/api/webhooks/\d{17,20}/[\w-]{60,80}"
)
_SAS = re.compile(r"(?<=[?&]sig=)[A-Za-z0-9%+/=]{40,100}")


class _Provider(NamedTuple):
    id: str
    type: str
    entropy: float


class _Formats(NamedTuple):
    """Patterns whose group `p<n>` is provider n's: `by_start` by a token's first two
    characters, `anywhere` with what the text must hold.
    """

    providers: tuple[_Provider, ...]
    by_start: dict[str, re.Pattern[str]]
    anywhere: tuple[tuple[str, re.Pattern[str]], ...]


class _Names(NamedTuple):
    """What a secret is called, and what is none."""

    strong: Vocabulary
    weak: Vocabulary
    harmless: tuple[str, ...]
    placeholders: tuple[str, ...]
    long_placeholders: tuple[str, ...]
    not_passwords: frozenset[str]


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    """The reviewed table, read once, on first use."""
    table: dict[str, Any] = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    return table


@lru_cache(maxsize=1)
def _formats() -> _Formats:
    providers, by_start, anywhere = [], dict[str, list[str]](), []
    for number, raw in enumerate(_table()["providers"]):
        providers.append(_Provider(raw["id"], raw["type"], float(raw.get("entropy", 3.0))))
        pattern = f"(?P<p{number}>{raw['pattern']})"
        for beginning in {start[:2] for start in raw.get("starts", ())}:
            by_start.setdefault(beginning, []).append(pattern)
        if "holds" in raw:
            anywhere.append(
                (raw["holds"], re.compile(rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])", re.ASCII))
            )
    compiled = {
        beginning: re.compile(rf"(?:{'|'.join(patterns)})(?![A-Za-z0-9])", re.ASCII)
        for beginning, patterns in by_start.items()
    }
    return _Formats(tuple(providers), compiled, tuple(anywhere))


@lru_cache(maxsize=1)
def _names() -> _Names:
    table = _table()
    strong, weak = (Vocabulary(tuple(table["names"][kind])) for kind in ("strong", "weak"))
    placeholders = tuple(table["placeholders"])
    long_placeholders = tuple(
        word for word in placeholders if len(word) > 5
    )  # shorter ones stand in long random values by chance
    return _Names(
        strong,
        weak,
        tuple(table["harmless"]),
        placeholders,
        long_placeholders,
        frozenset(table["not_passwords"]),
    )


def find_secrets(text: str) -> tuple[Finding, ...]:
    """Credentials in a text, sorted by position and free of overlaps; placeholders
    (`sk-xxxx`, `<YOUR_KEY>`) are none.
    """
    return resolve_overlaps(recognise_secrets(Passage(text)))


def recognise_secrets(passage: Passage) -> Iterator[Finding]:
    """Every recogniser's findings, overlaps included."""
    yield from _provider_tokens(passage)
    yield from _private_keys(passage.text)
    yield from _connection_strings(passage)
    yield from _hooks(passage)
    yield from _assigned(passage)


def _provider_tokens(passage: Passage) -> Iterator[Finding]:
    """Tokens that have a provider's format."""
    formats, text = _formats(), passage.text
    for token in _TOKEN.finditer(text):
        for begin in _beginnings(text, *token.span()):
            pattern = formats.by_start.get(text[begin : begin + 2])
            match = pattern.match(text, begin) if pattern else None
            if match:
                yield from _provider_finding(formats, match)
                break
    for held, pattern in formats.anywhere:
        if held in text:
            for match in pattern.finditer(text):
                yield from _provider_finding(formats, match)


def _provider_finding(formats: _Formats, match: re.Match[str]) -> Iterator[Finding]:
    provider = formats.providers[int((match.lastgroup or "p0")[1:])]
    value = match.group()
    if not is_placeholder(value) and entropy(value[4:]) >= provider.entropy:
        yield Finding(match.start(), match.end(), provider.type, 0.99, f"format of {provider.id}")


_MARKS = re.compile(r"[=:/.]++(?=[A-Za-z0-9])")


def _beginnings(text: str, start: int, end: int) -> list[int]:
    """Where in a token a credential may begin: at its start, and after the first marks
    such as `=` in `TOKEN=ghp_…`.
    """
    begins = [start]
    for mark in _MARKS.finditer(text, start, end):
        if end - mark.end() < 14 or len(begins) > 6:
            break
        begins.append(mark.end())
    return begins


def _private_keys(text: str) -> Iterator[Finding]:
    if "PRIVATE KEY" in text and "-----BEGIN" in text:
        for match in _PEM.finditer(text):
            body = match.group().split("-----")[2] if match.group().count("-----") >= 2 else ""
            compact = "".join(body.replace("\\n", "").split())
            if len(compact) >= 24 and len(set(compact)) >= 10 and not _says_placeholder(compact.lower()):
                yield Finding(match.start(), match.end(), "SECRET_PRIVATE_KEY", 0.99, "PEM block")
    if "PuTTY-User-Key-File" in text:
        yield from (
            Finding(m.start(), m.end(), "SECRET_PRIVATE_KEY", 0.99, "PuTTY key")
            for m in _PUTTY.finditer(text)
        )


def _connection_strings(passage: Passage) -> Iterator[Finding]:
    """URLs with a password in them, Azure's and ADO's `name=value;` strings."""
    text, lower = passage.text, passage.lower
    for rest in _AUTHORITY.finditer(text) if "://" in text and "@" in text else ():
        scheme = _SCHEME.search(text, max(0, rest.start() - 31), rest.start())
        if scheme and not is_placeholder(rest.group(2)) and rest.group(2).lower() not in _SAMPLE_PASSWORDS:
            yield Finding(scheme.start(), rest.end(), "SECRET_DB_URL", 0.98, "password in a URL")
    if "accountkey=" in lower or "sharedaccesskey" in lower or "accountname=" in lower:
        yield from (
            Finding(m.start(), m.end(), "SECRET_AZURE_CONN", 0.995, "Azure connection string")
            for m in _AZURE.finditer(text)
            if not is_placeholder(m.group())
        )
    for match in _ADO.finditer(text) if "password=" in lower or "pwd=" in lower else ():
        password = _ADO_PASSWORD.search(match.group())
        if password and not is_placeholder(password.group(1)):
            yield Finding(
                match.start(), match.end(), "SECRET_DB_URL", 0.97, "password in a connection string"
            )


_SAMPLE_PASSWORDS = frozenset(
    {"password", "pass", "pwd", "passwd", "motdepasse", "secret", "token", "user", "port"}
)


def _hooks(passage: Passage) -> Iterator[Finding]:
    """URLs that are secrets themselves, and signatures in a query."""
    text = passage.text
    for mark, pattern, kind in _HOOKS:
        if mark in text:
            yield from (
                Finding(m.start(), m.end(), kind, 0.99, "secret URL")
                for m in pattern.finditer(text)
                if not is_placeholder(m.group())
            )


_HOOKS = (
    ("hooks.slack", _SLACK_HOOK, "SECRET_SLACK_WEBHOOK"),
    ("webhook.office.com", _TEAMS_HOOK, "SECRET_TEAMS_WEBHOOK"),
    ("/api/webhooks/", _DISCORD_HOOK, "SECRET_DISCORD_WEBHOOK"),
    ("sig=", _SAS, "SECRET_AZURE_SAS"),
)


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


def _assigned(passage: Passage) -> Iterator[Finding]:
    """Values assigned to a name that tells, or said to be one (`my password is …`), and
    authorisation headers.
    """
    yield from _named(passage, _names().strong, strong=True)
    yield from _named(passage, _names().weak, strong=False)
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


def _named(passage: Passage, names: Vocabulary, *, strong: bool) -> Iterator[Finding]:
    text, done = passage.text, -1
    for end in passage.hits(names):
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
    return is_bare_key or any(word in identifier for word in _names().harmless)


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
    if not 4 <= len(text) <= 256 or text.lower() in _names().not_passwords:
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


def entropy(value: str) -> float:
    """Shannon entropy of the characters, in bits a character."""
    if not value:
        return 0.0
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())


_STRUCTURAL = re.compile(
    r"<[^>]*>?|\$\{?[A-Z_][A-Z0-9_.]*\}?|\$[a-z_]+|%[A-Za-z_]+%|\[[^\]]*\]?|\{[^}]*\}?|@+[A-Za-z_]+@+|[xX*.•●_#-]+"
)
_HOLE = re.compile(
    r"<[A-Za-z_ -]{1,40}>|\.\.\.|…|(.)\1{4}"
)  # something left out, or one character again and again


def is_placeholder(value: str) -> bool:
    """Whether a value stands for a secret: `<YOUR_KEY>`, `${TOKEN}`, `xxxxxxxx`,
    `changeme`, `AKIA…EXAMPLE`, a masked one.
    """
    lower = value.lower()
    if _STRUCTURAL.fullmatch(value) or _HOLE.search(lower) or len(set(lower)) <= min(3, len(lower) - 1):
        return True
    return _says_placeholder(lower)


def _says_placeholder(lower: str) -> bool:
    words = _names().placeholders if len(lower) <= 64 else _names().long_placeholders
    for word in words:  # noqa: SIM110 - twice as fast as any(), on every candidate
        if word in lower:
            return True
    return False
