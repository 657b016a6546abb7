"""Credentials in text: provider formats, private keys, connection strings, and values
assigned to names that tell.

Nothing is called a secret for its entropy alone: commit hashes, digests and base64
prose are as random as keys are.
"""

import re
from collections.abc import Iterator

from services.detection.finding import Finding, resolve_overlaps
from services.detection.passage import Passage
from services.detection.secrets.assigned import assigned_secrets
from services.detection.secrets.commands import command_secrets
from services.detection.secrets.placeholders import (
    entropy,
    is_nobodys,
    is_sample_login,
    says_placeholder,
)
from services.detection.secrets.table import Formats, formats

_SHORTEST = 14
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


def find_secrets(text: str) -> tuple[Finding, ...]:
    """Credentials in a text, sorted by position and free of overlaps; placeholders
    (`sk-xxxx`, `<YOUR_KEY>`) are none.
    """
    return resolve_overlaps(recognise_secrets(Passage(text)))


def recognise_secrets(passage: Passage) -> Iterator[Finding]:
    """Every recogniser's findings, overlaps included."""
    yield from _provider_tokens(passage)
    yield from _private_keys(passage)
    yield from _connection_strings(passage)
    yield from _hooks(passage)
    yield from assigned_secrets(passage)
    yield from command_secrets(passage)


def _provider_tokens(passage: Passage) -> Iterator[Finding]:
    """Tokens that have a provider's format."""
    known, text, doubtful = formats(), passage.text, passage.doubtful
    for start, end in _long_words(text):
        for token in _TOKEN.finditer(text, start, end):
            yield from _first_of(known, text, *token.span(), doubtful=doubtful)
        for held, pattern in known.anywhere:
            if text.find(held, start, end) >= 0:
                for match in pattern.finditer(text, start, end):
                    yield from _provider_finding(known, match, doubtful=doubtful)


def _long_words(text: str) -> Iterator[tuple[int, int]]:
    """Where words stand that are as long as the shortest token."""
    end = 0
    for word in text.split():
        if len(word) >= _SHORTEST:
            start = text.index(word, end)
            end = start + len(word)
            yield start, end


def _first_of(known: Formats, text: str, start: int, end: int, *, doubtful: bool) -> Iterator[Finding]:
    """The first credential that begins where one may in a token."""
    for begin in _beginnings(text, start, end):
        pattern = known.by_start.get(text[begin : begin + 2])
        match = pattern.match(text, begin) if pattern else None
        if match:
            yield from _provider_finding(known, match, doubtful=doubtful)
            return


def _provider_finding(known: Formats, match: re.Match[str], *, doubtful: bool) -> Iterator[Finding]:
    provider = known.providers[int((match.lastgroup or "p0")[1:])]
    value = match.group()
    if not is_nobodys(value, doubtful=doubtful) and entropy(value[4:]) >= (
        1.0 if doubtful else provider.entropy
    ):
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


def _private_keys(passage: Passage) -> Iterator[Finding]:
    text, doubtful = passage.text, passage.doubtful
    if "PRIVATE KEY" in text and "-----BEGIN" in text:
        for match in _PEM.finditer(text):
            body = match.group().split("-----")[2] if match.group().count("-----") >= 2 else ""
            compact = "".join(body.replace("\\n", "").split())
            if (
                len(compact) >= 24
                and len(set(compact)) >= 10
                and (doubtful or not says_placeholder(compact.lower()))
            ):
                yield Finding(match.start(), match.end(), "SECRET_PRIVATE_KEY", 0.99, "PEM block")
    if "PuTTY-User-Key-File" in text:
        yield from (
            Finding(m.start(), m.end(), "SECRET_PRIVATE_KEY", 0.99, "PuTTY key")
            for m in _PUTTY.finditer(text)
        )


def _connection_strings(passage: Passage) -> Iterator[Finding]:
    """URLs with a password in them, Azure's and ADO's `name=value;` strings."""
    text, lower, doubtful = passage.text, passage.lower, passage.doubtful
    for rest in _AUTHORITY.finditer(text) if "://" in text and "@" in text else ():
        scheme = _SCHEME.search(text, max(0, rest.start() - 31), rest.start())
        if scheme and not is_sample_login(rest.group(1), rest.group(2), doubtful=doubtful):
            yield Finding(scheme.start(), rest.end(), "SECRET_DB_URL", 0.98, "password in a URL")
    if "accountkey=" in lower or "sharedaccesskey" in lower or "accountname=" in lower:
        yield from (
            Finding(m.start(), m.end(), "SECRET_AZURE_CONN", 0.995, "Azure connection string")
            for m in _AZURE.finditer(text)
            if not is_nobodys(m.group(), doubtful=doubtful)
        )
    for match in _ADO.finditer(text) if "password=" in lower or "pwd=" in lower else ():
        password = _ADO_PASSWORD.search(match.group())
        if password and not is_nobodys(password.group(1), doubtful=doubtful):
            yield Finding(
                match.start(), match.end(), "SECRET_DB_URL", 0.97, "password in a connection string"
            )


def _hooks(passage: Passage) -> Iterator[Finding]:
    """URLs that are secrets themselves, and signatures in a query."""
    text = passage.text
    for mark, pattern, kind in _HOOKS:
        if mark in text:
            yield from (
                Finding(m.start(), m.end(), kind, 0.99, "secret URL")
                for m in pattern.finditer(text)
                if not is_nobodys(m.group(), doubtful=passage.doubtful)
            )


_HOOKS = (
    ("hooks.slack", _SLACK_HOOK, "SECRET_SLACK_WEBHOOK"),
    ("webhook.office.com", _TEAMS_HOOK, "SECRET_TEAMS_WEBHOOK"),
    ("/api/webhooks/", _DISCORD_HOOK, "SECRET_DISCORD_WEBHOOK"),
    ("sig=", _SAS, "SECRET_AZURE_SAS"),
)
