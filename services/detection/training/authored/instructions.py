"""Everyday requests to an assistant in thirty languages, and the same requests with an
attack beside them.

Public harmless rows in other languages than English are questions, sentences of the
news and commands to a lamp: a model that has seen no more takes an imperative, a role
or a condition on the answer for an attack. What both sides share here cannot tell them
apart; what the attack says can.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from services.detection.training.authored.grammar import roughen
from services.detection.training.rows import Row

HARMLESS, ATTACKS = 260, 140
_FILE = Path(__file__).with_name("instructions.yaml")
_NO_SPACES = ("zh", "ja", "th")
Phrases = Mapping[str, Sequence[str]]


def instruction_rows(rng: random.Random) -> list[Row]:
    """The requests of every language, harmless ones twice as many as attacks.

    Their sources are `authored:request-<lang>` and `authored:request-attack-<lang>`.
    """
    languages: Mapping[str, Phrases] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    rows: list[Row] = []
    for lang, phrases in languages.items():
        glue = "" if lang in _NO_SPACES else " "
        rows.extend(
            Row(text, 0, "benign", lang, f"authored:request-{lang}", f"authored-{place % 4}")
            for place, text in enumerate(_drawn(_harmless, phrases, glue, rng, HARMLESS))
        )
        rows.extend(
            Row(text, 1, "prompt_injection", lang, f"authored:request-attack-{lang}", f"authored-{place % 4}")
            for place, text in enumerate(_drawn(_attack, phrases, glue, rng, ATTACKS))
        )
    return rows


def _drawn(
    make: Callable[[Phrases, str, random.Random], str],
    phrases: Phrases,
    glue: str,
    rng: random.Random,
    count: int,
) -> list[str]:
    """`count` different texts, or as many as three draws for each give."""
    texts = dict.fromkeys(roughen(make(phrases, glue, rng), rng) for _ in range(3 * count))
    return list(texts)[:count]


def _task(phrases: Phrases, rng: random.Random) -> str:
    task = rng.choice(phrases["tasks"]).replace("{t}", rng.choice(phrases["topics"]))
    return task if task[-1] in ".?!？。" else task + rng.choice((".", ".", "", "!"))


def _harmless(phrases: Phrases, glue: str, rng: random.Random) -> str:
    """A saying in a quarter of the cases; else a task with up to two manners, before
    which a role may stand.
    """
    if rng.random() < 0.25:
        return rng.choice(phrases["said"]) + rng.choice(("", "", ".", "?"))
    parts = [_task(phrases, rng), *rng.sample(phrases["manners"], rng.choice((0, 1, 1, 2)))]
    if rng.random() < 0.3:
        parts.insert(0, rng.choice(phrases["roles"]))
    if rng.random() < 0.15:
        parts.append(rng.choice(phrases["said"]))
    return glue.join(parts)


def _attack(phrases: Phrases, glue: str, rng: random.Random) -> str:
    """An attack alone in a third of the cases; else beside what a harmless request is
    made of.
    """
    attack = rng.choice(phrases["attacks"])
    chance = rng.random()
    if chance < 0.35:
        return attack
    around = _harmless(phrases, glue, rng)
    return glue.join((around, attack) if chance < 0.8 else (attack, around))
