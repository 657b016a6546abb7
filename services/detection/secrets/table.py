"""The reviewed table of credentials' formats and names (formats.yaml), read once, on
first use.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from services.detection.passage import Vocabulary

_TABLE = Path(__file__).with_name("formats.yaml")


class Provider(NamedTuple):
    """A provider and the entropy that its credentials have at least, in bits a character."""

    id: str
    type: str
    entropy: float


class Formats(NamedTuple):
    """Patterns whose group `p<n>` is provider n's: `by_start` by a token's first two
    characters, `anywhere` with what the text must hold.
    """

    providers: tuple[Provider, ...]
    by_start: dict[str, re.Pattern[str]]
    anywhere: tuple[tuple[str, re.Pattern[str]], ...]


class Names(NamedTuple):
    """What a secret is called, and what is none."""

    strong: Vocabulary
    weak: Vocabulary
    harmless: tuple[str, ...]
    placeholders: tuple[str, ...]
    long_placeholders: tuple[str, ...]
    not_passwords: frozenset[str]
    sample_logins: frozenset[str]


class Command(NamedTuple):
    """A pattern for a command's line from its name on; `{value}` is where a password
    stands, which an @ and a host may follow.
    """

    pattern: str
    ends_at_host: bool


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    return loaded


@lru_cache(maxsize=1)
def formats() -> Formats:
    """The providers' formats."""
    providers, by_start, anywhere = [], dict[str, list[str]](), []
    for number, raw in enumerate(_table()["providers"]):
        providers.append(Provider(raw["id"], raw["type"], float(raw.get("entropy", 3.0))))
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
    return Formats(tuple(providers), compiled, tuple(anywhere))


@lru_cache(maxsize=1)
def commands() -> dict[str, tuple[Command, ...]]:
    """Commands that take a password as an argument, by the first letters of their name."""
    by_word = dict[str, list[Command]]()
    for raw in _table()["commands"]:
        for word in raw["words"]:
            by_word.setdefault(word, []).append(Command(raw["pattern"], bool(raw.get("host"))))
    return {word: tuple(found) for word, found in by_word.items()}


@lru_cache(maxsize=1)
def names() -> Names:
    """What secrets are called, and what stands for one."""
    table = _table()
    strong, weak = (Vocabulary(tuple(table["names"][kind])) for kind in ("strong", "weak"))
    placeholders = tuple(table["placeholders"])
    long_placeholders = tuple(
        word for word in placeholders if len(word) > 5
    )  # shorter ones stand in long random values by chance
    return Names(
        strong,
        weak,
        tuple(table["harmless"]),
        placeholders,
        long_placeholders,
        frozenset(table["not_passwords"]),
        frozenset(table["sample_logins"]),
    )
