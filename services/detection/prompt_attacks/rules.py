"""Weighted rules over the views of a text; the rules themselves are in rules.yaml,
reviewed there, with examples that are run as tests.

A pattern is a regular expression over folded text (lower case, no accents) with three
shorthands: a space stands for one to three white-space characters (` ?` for none to
three), `{name}` for a word list of the file's `vocabulary`, and `{gap}` for up to four
words in between. Every quantifier in rules.yaml is bounded, and what is repeated within a
repetition cannot be divided in two ways (a word has no character that may stand between
words), so that no input makes a pattern backtrack without end. `needs` names word lists
or literals of which at least one each must occur at all: it is what keeps the rules cheap.
"""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from ahocorasick_rs import AhoCorasick

from services.detection.prompt_attacks.beginnings import beginnings_of
from services.detection.prompt_attacks.normalise import Normalised, View

RULES_FILE = Path(__file__).with_name("rules.yaml")
_GAP = r"(?:(?:[^\w\n]{1,4}\w{1,24}){0,4}?\W{1,4})"
_CLOSE = r"(?:(?:[^\w\n]{1,4}\w{1,24}){0,2}?\W{1,4})"
_SPEECH = re.compile(
    r"\b(?:says?|shouts?|whispers?|yells?|cries|mutters?|replies|hisses|dit|crie|murmure|hurle|sagt|ruft"
    r"|schreit|flustert|dice|grita|susurra|urla|grida|sussurra|diz|говорит|кричит|шепчет)"
    r"(?: (?:der|die|das|el|la|il|lo|o|a|le)? ?\w{1,16})? {0,2}: {0,3}[^.!?\n:]{0,40}$"
)
_SHORT = 2
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Rule:
    """One reviewed rule.

    `weight` is in score points (negative: speaks for innocence); `certain`: enough for
    critical on its own; `beginnings` finds the literals with one of which every match
    begins.
    """

    id: str
    category: str
    weight: float
    pattern: re.Pattern[str]
    needs: tuple[tuple[str, ...], ...]
    certain: bool
    at_word: bool
    beginnings: AhoCorasick | None
    must_match: tuple[str, ...]
    must_not_match: tuple[str, ...]

    def find(self, text: str) -> re.Match[str] | None:
        """The first match. A pattern that begins with ^ is only tried at the beginning,
        one of which it is known how its matches begin only where one may.

        One that begins with a word's start is compiled without it, and the start
        checked here.
        """
        if self.pattern.pattern.startswith("^"):
            return self.pattern.match(text)
        if self.beginnings is None:
            return self._search(text)
        found = self.beginnings.find_matches_as_indexes(text, overlapping=True)
        for start in sorted({one[1] for one in found}):
            if not (self.at_word and start and _is_word(text[start - 1])):
                match = self.pattern.match(text, start)
                if match:
                    return match
        return None

    def _search(self, text: str) -> re.Match[str] | None:
        match = self.pattern.search(text)
        while self.at_word and match and match.start() and _is_word(text[match.start() - 1]):
            match = self.pattern.search(text, match.start() + 1)
        return match


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that matched: where in the original text, in which view, and whether what
    it matched stands inside quotation marks.
    """

    rule: Rule
    start: int
    end: int
    view: str
    quoted: bool


class _Candidates:
    """Which rules may match a text: those of which every need occurs in it.

    One automaton finds all literals in one pass, however many there are, and most texts
    leave a rule or two.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        needs = list(dict.fromkeys(need for rule in rules for need in rule.needs))
        literals = sorted({literal for need in needs for literal in need})
        self._rules = rules
        self._automaton = AhoCorasick(literals, store_patterns=False)
        self._met_by = [
            tuple(number for number, need in enumerate(needs) if literal in need) for literal in literals
        ]
        self._needs = [frozenset(needs.index(need) for need in rule.needs) for rule in rules]
        self._always = [place for place, wanted in enumerate(self._needs) if not wanted]
        self._by_need = [
            tuple(place for place, wanted in enumerate(self._needs) if wanted and min(wanted) == number)
            for number in range(len(needs))
        ]

    def of(self, text: str) -> list[Rule]:
        """The rules whose needs `text` meets, in their order."""
        found = {one[0] for one in self._automaton.find_matches_as_indexes(text, overlapping=True)}
        met = {number for literal in found for number in self._met_by[literal]}
        places = [place for number in met for place in self._by_need[number] if self._needs[place] <= met]
        return [self._rules[place] for place in sorted(self._always + places)]


class RuleSet:
    """The rules of a file, ready to run."""

    def __init__(self, rules: Sequence[Rule], version: str) -> None:
        self.rules = tuple(rules)
        self.version = version
        self._candidates = _Candidates(self.rules)

    def match(self, text: Normalised) -> list[Hit]:
        """Every rule's first match over the views of `text`, in the order of the file."""
        hits: dict[str, Hit] = {}
        for view in text.views:
            for hit in self._match_view(view, hits.keys()):
                hits[hit.rule.id] = hit
        return list(hits.values())

    def _match_view(self, view: View, matched: Container[str]) -> Iterable[Hit]:
        body = view.text
        for rule in self._candidates.of(body):
            match = None if rule.id in matched else rule.find(body)
            if match:
                start, end = view.span(*match.span())
                yield Hit(rule, start, end, view.kind, _is_quoted(body, *match.span()))


def _is_quoted(text: str, start: int, end: int) -> bool:
    """Whether quotation marks open within 80 characters before `start` and close within
    160 after `end`, or somebody says it: "the villain shouts: …".
    """
    before, after = text[max(0, start - 80) : start + 1], text[max(end - 1, 0) : end + 160]
    if ":" in before and _SPEECH.search(before[:-1]):
        return True
    for mark in ('"', "`", "'"):
        opened = before.count(mark) if mark != "'" else len(re.findall(r"(?<!\w)'", before))
        if opened % 2 == 1 and mark in after:
            return True
    return False


@lru_cache(maxsize=4)
def load_rules(path: Path = RULES_FILE) -> RuleSet:
    """The rules of a YAML file.

    Raises:
        ValueError: a rule is malformed; the message names it.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506  a safe loader
    vocabulary = {name: tuple(words) for name, words in content["vocabulary"].items()}
    rules = [_rule(entry, vocabulary) for entry in content["rules"]]
    repeated = {rule.id for rule in rules if sum(other.id == rule.id for other in rules) > 1}
    if repeated:
        raise ValueError(
            f"rule ids must be unique, found twice in {path.name}: {sorted(repeated)}; rename one of each"
        )
    return RuleSet(rules, str(content["version"]))


def _rule(entry: Mapping[str, Any], vocabulary: Mapping[str, tuple[str, ...]]) -> Rule:
    try:
        pattern = expand(entry["pattern"], vocabulary)
        at_word = pattern.startswith(r"\b(?:") and not _has_alternatives(pattern)
        return Rule(
            id=entry["id"],
            category=entry["category"],
            weight=float(entry["weight"]),
            pattern=re.compile(pattern.removeprefix(r"\b") if at_word else pattern),
            needs=tuple(
                vocabulary[need] if isinstance(need, str) else tuple(str(one) for one in need)
                for need in entry["needs"]
            ),
            certain=bool(entry.get("certain", False)),
            at_word=at_word,
            beginnings=_automaton(pattern),
            must_match=tuple(entry["must_match"]),
            must_not_match=tuple(entry["must_not_match"]),
        )
    except (KeyError, re.error, TypeError) as error:
        raise ValueError(
            f"rule {entry.get('id', entry)!r} is malformed: {error!r}; see the head of rules.yaml for the "
            "fields"
        ) from error


def _automaton(pattern: str) -> AhoCorasick | None:
    """What finds where a match of `pattern` may begin; None where that is anywhere, or
    at so short a literal that it is nearly anywhere.
    """
    literals = beginnings_of(pattern)
    if not literals or any(len(one) < _SHORT and one.isascii() for one in literals):
        return None
    return AhoCorasick(sorted(literals), store_patterns=False)


def expand(pattern: str, vocabulary: Mapping[str, tuple[str, ...]]) -> str:
    """`pattern` as a regular expression, its shorthands written out."""

    def written_out(match: re.Match[str]) -> str:
        name = match[1]
        if name == "gap":
            return _GAP
        if name == "close":
            return _CLOSE
        words = "|".join(map(_spaced, vocabulary[name]))
        stands_in_list = spaced[match.start() - 1] in ":|" and spaced[match.end() : match.end() + 1] in (
            "|",
            ")",
        )
        return words if match.start() and stands_in_list else f"(?:{words})"

    spaced = _spaced(pattern)
    return _PLACEHOLDER.sub(written_out, spaced)


def _spaced(pattern: str) -> str:
    """Spaces that do not stand in a set of characters as white space."""
    return re.sub(r"(?<!\\)(?<!\[) (?![^\[\]]*\])", r"\\s{1,3}", pattern.replace(" ?", r"\s{0,3}"))


def _has_alternatives(pattern: str) -> bool:
    """Whether `|` stands outside all brackets."""
    depth = 0
    for sign in re.sub(r"\\.|\[\^?\]?[^\]]*\]", "", pattern):
        depth += (sign == "(") - (sign == ")")
        if sign == "|" and depth == 0:
            return True
    return False


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
