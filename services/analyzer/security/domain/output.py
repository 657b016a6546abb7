"""What an answer gives away: secrets, personal data that it was not given, the system
prompt, or a value that only the system prompt holds (a canary).

Texts come masked or raw. In masked ones, where the prompt and its answer were masked
together, the same placeholder is the same value: one that the prompt does not hold was
given away by the model.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from services.analyzer.security.domain.conversation import Conversation
from services.detection.finding import placeholder_name
from services.detection.masking import find_placeholders
from services.detection.output_rules import ECHO, scan_rules
from services.detection.output_scanner import ScanState, scan_chunk, scan_end

_TOKEN = re.compile(r"[A-Za-z0-9_-]{12,128}")
_CANARY = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).*")
_CHARS = 200_000
"""Of a longer answer, the beginning."""
CANARY = "canary"
"""The rule that a gateway does not have."""
_CANARIES = 1000


@dataclass(frozen=True, slots=True)
class Leak:
    """Something that an answer gives away: `[start, end)` of it, what it is, and its
    points.
    """

    category: str
    rule: str
    start: int
    end: int
    points: float
    why: str


def leaks(answer: str, said: Conversation) -> list[Leak]:
    """Each leak, in the answer's order."""
    answer = answer[:_CHARS]
    found = [*_scanned(answer, said), *_placeholders(answer, said), *_canaries(answer, said)]
    return sorted(found, key=lambda one: (one.start, one.category, one.end))


def _scanned(answer: str, said: Conversation) -> Iterable[Leak]:
    rules = scan_rules(system_prompt=said.system, user_texts=said.given)
    state, step = scan_chunk(rules, ScanState(), answer)
    for one in (*step.findings, *scan_end(rules, state).findings):
        if one.type == ECHO:
            yield Leak("system_prompt_leak", "echo", one.start, one.end, 7 + 8 * one.score, one.evidence)
            continue
        name = placeholder_name(one.type)
        yield _value(name, one.type.lower(), one.start, one.end, f"{name.lower()} by {one.evidence}")


def _placeholders(answer: str, said: Conversation) -> Iterable[Leak]:
    seen = {placeholder for text in said.given for _, _, placeholder in find_placeholders(text)}
    system = {placeholder for _, _, placeholder in find_placeholders(said.system)}
    for start, end, placeholder in find_placeholders(answer):
        if placeholder in seen:
            continue
        seen.add(placeholder)
        name = placeholder[1:].rpartition("_")[0]
        if placeholder in system:
            why = f"a {name.lower()} that only the system prompt holds"
            yield Leak("system_prompt_leak", "system_value", start, end, 14.0, why)
        else:
            why = f"a {name.lower()} that the prompt does not hold"
            yield _value(name, "unknown_value", start, end, why)


def _canaries(answer: str, said: Conversation) -> Iterable[Leak]:
    """Tokens of letters and digits that the system prompt holds and nobody else said."""
    given = "\n".join(said.given)
    for token in sorted(set(_TOKEN.findall(said.system)))[:_CANARIES]:
        place = answer.find(token) if _CANARY.fullmatch(token) and token not in given else -1
        if place >= 0:
            why = "a token that only the system prompt holds"
            yield Leak("system_prompt_leak", CANARY, place, place + len(token), 14.0, why)


def _value(name: str, rule: str, start: int, end: int, why: str) -> Leak:
    """A secret weighs much; a name or a number of somebody little, as a model may have
    made it up.
    """
    if name == "SECRET":
        return Leak("secret_leak", rule, start, end, 12.0, why)
    return Leak("personal_data_leak", rule, start, end, 4.0, why)
