"""Passwords given to commands as arguments: `mysql -p…`, `sshpass -p …`, `curl -u a:…`.

Only commands whose option is known to be a password are looked at (formats.yaml), on
their own line: `docker login -p …` is one, `docker run -p 8080:80` is none.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from services.detection.finding import Finding
from services.detection.passage import Passage
from services.detection.secrets.placeholders import holds_nothing, is_placeholder
from services.detection.secrets.table import Command, commands, names

GENERIC = "SECRET_GENERIC_PASSWORD"
_LINE = re.compile(r"(?:[^\n\\]|\\\n?){0,600}")
_BEFORE = re.compile(r"(?:^|[\s`'\"$(;|&>/\\]|(?:^|\s)7)\Z")
_VALUE = r"""(?:'(?P<v{n}a>[^'\n]{{1,128}})'|"(?P<v{n}b>[^"\n]{{1,128}})"|(?P<v{n}c>[^\s'"`]{{1,128}}))"""


def command_secrets(passage: Passage) -> Iterator[Finding]:
    """Passwords among the arguments of commands."""
    present = commands().keys() & passage.present
    if not present:
        return
    seen: set[int] = set()
    for word in present:
        done = -1
        for end in passage.words[word]:
            start = end - len(word)
            line = _LINE.match(passage.text, end) if start >= done else None
            if line and _BEFORE.search(passage.text, max(0, start - 2), start):
                done = line.end()
                for command in commands()[word]:
                    yield from _of_command(passage, command, end, done, seen)


def _of_command(
    passage: Passage, command: Command, start: int, end: int, seen: set[int]
) -> Iterator[Finding]:
    """The values of a command's password options between its name and its line's end."""
    text = passage.text
    for match in _compiled(command.pattern).finditer(text, start, end):
        group = next(name for name, value in match.groupdict().items() if value is not None)
        value_start, value_end = match.span(group)
        if group.endswith("c"):
            value_end = _without_end_of_command(text, value_start, value_end)
            at = text.rfind("@", value_start, value_end) if command.ends_at_host else -1
            value_end = at if at > value_start else value_end
        if value_start not in seen and is_argument_secret(
            text[value_start:value_end], doubtful=passage.doubtful
        ):
            seen.add(value_start)
            yield Finding(value_start, value_end, GENERIC, 0.87, "password argument of a command")


def _without_end_of_command(text: str, start: int, end: int) -> int:
    """Without the marks that end a command or a sentence after a bare value."""
    while end > start and text[end - 1] in ";,.|)`":
        end -= 1
    return end


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A command's pattern with its places for a value filled in."""
    parts = pattern.split("{value}")
    return re.compile("".join(part + _VALUE.format(n=n) for n, part in enumerate(parts[:-1])) + parts[-1])


def is_argument_secret(value: str, *, doubtful: bool = False) -> bool:
    """Whether an argument is a password and no variable, option, placeholder or plain
    word such as `secret`.
    """
    if doubtful:
        return len(value) >= 4 and value[0] not in "->" and not holds_nothing(value)
    if len(value) < 4 or value[0] in "-$%<>{@" or is_placeholder(value):
        return False
    lower = value.lower()
    if lower in names().not_passwords or any(word in lower for word in ("password", "passwort", "secret")):
        return False
    return len(value) >= 10 or not (value.isalpha() and (value.islower() or value.isupper()))
