"""Attacks and harmless prompts from slot grammars, the same ones every time.

Public data comes from few hands, and a model soon learns the hands. These prompts have
every kind of attack in seven languages and, above all, what looks like one: questions
about security, quoted attacks, trigger words in innocent use, role play, code. A third
of them is roughened (case, punctuation, typing errors), so that neat writing speaks for
neither side.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from services.detection.training.rows import Row

_FOLDER = Path(__file__).parent
_SLOT = re.compile(r"\{([a-z0-9]+)\}")
_CHOICE = re.compile(r"(?<!\\)\(([^()]*(?<!\\)\|[^()]*)\)")
_PAYLOAD_PARTS: Mapping[str, Sequence[str]] = {
    "c": ("id", "name", "user", "password", "email", "title", "page", "card", "token", "q"),
    "t": (
        "users",
        "accounts",
        "orders",
        "customers",
        "members",
        "payments",
        "information_schema.tables",
        "admin",
    ),
    "f": (
        "/etc/passwd",
        "/etc/shadow",
        "/etc/hosts",
        "/root/.ssh/id_rsa",
        "/proc/self/environ",
        "/app/.env",
        "/var/log/auth.log",
        "~/.aws/credentials",
    ),
    "u": ("http://evil.example", "https://203.0.113.7", "//collect.example", "http://attacker.test:8000"),
    "h": ("10.0.0.5", "203.0.113.7", "evil.example", "192.168.1.66"),
    "p": ("4444", "1337", "9001", "8080"),
}


def grammar_rows(rng: random.Random) -> list[Row]:
    """Every prompt of the grammars, each once.

    Its source is `authored:<family>`; its group, one of four, goes by the line of the
    grammar that it came from.
    """
    payloads = _payloads(rng)
    rows = []
    for name in ("attacks.yaml", "benign.yaml", "languages.yaml"):
        grammar = yaml.safe_load((_FOLDER / name).read_text(encoding="utf-8"))
        slots = {**grammar["slots"], **grammar.get("more_slots", {}), "payload": payloads}
        for family in grammar["families"]:
            rows.extend(_family(family, slots, grammar["forms"], rng))
    unique = {row.text: row for row in rows}
    return list(unique.values())


def _family(
    family: Mapping[str, Any],
    slots: Mapping[str, Sequence[str]],
    forms: Mapping[str, str],
    rng: random.Random,
) -> list[Row]:
    lines = [line for line in forms.get(family["id"], "{payload}").splitlines() if line.strip()]
    drawn: dict[str, int] = {}
    for number in range(3 * family["count"]):
        text = fill(lines[number % len(lines)], slots, rng)
        drawn.setdefault(text if "payload" in family["id"] else roughen(text, rng), number % len(lines))
    return [
        Row(
            text,
            family["label"],
            family["category"],
            family["lang"],
            f"authored:{family['id']}",
            f"authored-{line % 4}",
        )
        for text, line in list(drawn.items())[: family["count"]]
    ]


def fill(form: str, slots: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """One sentence of a form: choices made from the inside out, then slots filled, and
    the slots in those.
    """
    text = form.strip()
    while match := _CHOICE.search(text):
        text = text[: match.start()] + rng.choice(re.split(r"(?<!\\)\|", match[1])) + text[match.end() :]
    for _ in range(2):
        text = _SLOT.sub(
            lambda match: str(rng.choice(slots[match[1]])) if match[1] in slots else match[0], text
        )
    return re.sub(r" {2,}", " ", text.replace("\\|", "|").replace("\\$", "$").replace("\\n", "\n")).strip()


def roughen(text: str, rng: random.Random) -> str:
    """Two in three texts as they are; the others in lower or upper case, without
    punctuation, with a typing error, or with a greeting around them.
    """
    changes: tuple[Callable[[str], str], ...] = (
        str.lower,
        str.lower,
        str.upper,
        lambda plain: plain.rstrip(".!?"),
        lambda plain: re.sub(r"[,.;:!?]", "", plain).lower(),
        lambda plain: _mistype(plain, rng),
        lambda plain: f"{rng.choice(('Hi! ', 'Hello, ', 'Question: ', 'hey ', 'Thanks. '))}{plain}",
        lambda plain: (
            f"{plain} {rng.choice(('Thanks!', 'thx', 'Please be brief.', 'ASAP', 'Thank you in advance.'))}"
        ),
    )
    return rng.choice(changes)(text) if rng.random() < 1 / 3 else text


def _mistype(text: str, rng: random.Random) -> str:
    """Two neighbouring letters change places."""
    place = rng.randrange(max(1, len(text) - 1))
    return text[:place] + text[place + 1 : place + 2] + text[place : place + 1] + text[place + 2 :]


def _payloads(rng: random.Random) -> list[str]:
    lines = (_FOLDER / "payloads.txt").read_text(encoding="utf-8").splitlines()
    filled = (_payload(line, rng) for _ in range(12) for line in lines if line.strip())
    return list(dict.fromkeys(filled))


def _payload(line: str, rng: random.Random) -> str:
    number = str(rng.randrange(1, 9999))

    def part(match: re.Match[str]) -> str:
        return {"n": number, "%": "%"}.get(match[1]) or rng.choice(_PAYLOAD_PARTS[match[1]])

    return re.sub(r"%([ntcfuhp%])(?![0-9a-f]{1}[^a-z])", part, line)
