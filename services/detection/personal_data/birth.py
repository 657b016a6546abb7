"""Dates of birth: a date that the text says somebody was born on.

The word of birth stands before the date (`born on …`, `DOB: …`), after it (`am … in Graz
geboren`, `… is my birthday`), or heads the column that the date stands in.
"""

import re
from collections.abc import Iterator
from itertools import accumulate, chain

from services.detection.finding import Finding
from services.detection.passage import Passage
from services.detection.personal_data.dates import date_pattern, day_pattern, is_date
from services.detection.personal_data.words import vocabulary

_REACH = 72
_REACH_OF_FIGURES = 24  # for eight digits without a separator
_DIGIT = re.compile(r"[0-9]")
_OTHER_SENSE = re.compile(
    r"[- ]?(?:again|certificate|rate|control|order|plan|party|parties|gift|cake|card|present|wish|town"
    r"|place|free|\s?(?:du|d'une?|de la|de l')\s|out of|surunkunde|urkunde|sfeier|sgeschenk|skarte|stort)"
)
_ENDS_THOUGHT = re.compile(
    r"[!;?]|\.\s+\w{3,}|\n\s*\n|\b(?:joined|died|married|since|founded|released|published|hired|started|moved"
    r"|mort|morte|décédée?|mariée?|depuis|publiée?|gestorben|verstorben|verheiratet|seit|murió|falleció|desde|casad[oa]"
    r"|morto|morta|decedut[oa]|sposat[oa]|dal|heiratete|married|épousa)\b|†"
    r"|\b(?:and|und|et|y|e)\s[^\W\d_]+(?:\s[^\W\d_]+){0,3}\s(?:on|am|le|el|il)\s*\Z"
)
_AFTER = re.compile(
    r"[\s)\]\"',:–-]{0,3}\(?(?:(?:is|was|est|était|ist|war|es|era|è)\s(?:also\s)?"
    r"(?:(?:my|his|her|their|your|the|ma|sa|votre|ta|leur|la|mon|son|mein|meine|sein|ihr|das|mi|su|tu"
    r"|il mio|la mia|il suo|la sua|sua)\s)?)?"
    r"(?:date of birth|birth ?date|birthday|d\.?o\.?b\b|date de naissance|anniversaire|geburtsdatum"
    r"|geburtstag|fecha de nacimiento|cumpleaños|data di nascita|compleanno)"
)
# Between a date and the verb of birth: little in most languages; the rest of the
# sentence in German, whose verb comes last.
_TO_VERB = re.compile(
    r",? ?(?:(?:that|que|quand|when) )?(?:(?:i|he|she|they|we|je|il|elle|nous|ich|er|sie) )?"
    r"(?:was|were|am|is|suis|est|bin|ist)? ?"
)
_TO_GERMAN_VERB = re.compile(r"[^.;!?\n0-9]{0,48}")
_VERBS = re.compile(
    r"\b(?:born|née?|nací|nació|nacque|nacqui|nato|nata|naissait|naquit|(?P<last>geboren|zur welt))\b"
)
_STAR = re.compile(r"\*(?:(?<=[(,] \*)|(?<=\(\*))\s?")  # `Maria (*14.05.1977)`
_MARKS_OF_COLUMNS = ",;|\t"
_ROWS = 200
_LINE = 400


def recognise(passage: Passage) -> Iterator[Finding]:
    """Dates in the same sentence as a word of birth, or in a column that it heads."""
    if "*" in passage.lower:
        yield from _after_star(passage.lower)
    ends = passage.hits(vocabulary("birth"))
    if not ends:
        return
    columns = _Columns(passage)
    for end, following in zip(ends, [*ends, len(passage.text) + _REACH][1:], strict=True):
        if not (passage.text[end - 4 : end] == "NATO" or _OTHER_SENSE.match(passage.lower, end)):
            yield from _after_word(passage, columns, end, following)
    yield from columns.found()
    yield from _before_word(passage)


def _after_word(passage: Passage, columns: "_Columns", end: int, following: int) -> Iterator[Finding]:
    """The date that follows a word of birth; the nearest word before a date decides."""
    lower = passage.lower
    window_end = min(len(lower), end + _REACH + 24, following)
    if not _DIGIT.search(lower, end, window_end):
        columns.look_under(end)
        return
    match = date_pattern().search(lower, end, window_end) or _yearless(passage, end, window_end)
    if match is None or match.start() - end > _reach_of(match):
        columns.look_under(end)
    elif "\n" in lower[end : match.start()] and columns.look_under(end):
        return
    elif not _ENDS_THOUGHT.search(lower, end, match.start()) and is_date(match):
        yield Finding(match.start(), match.end(), "DATE_OF_BIRTH", 0.9, "date after a word of birth")


def _reach_of(match: re.Match[str]) -> int:
    return _REACH_OF_FIGURES if match.group().isdigit() else _REACH


def _yearless(passage: Passage, end: int, window_end: int) -> re.Match[str] | None:
    """A day without year right after a word for birthday."""
    if passage.last_before(vocabulary("birthday"), end, 0) != end:
        return None
    match = day_pattern().search(passage.lower, end, min(window_end, end + 32))
    return match if match and match.start() - end <= 12 else None


def _after_star(lower: str) -> Iterator[Finding]:
    """Dates after the star that stands for a birth: `Maria (*14.05.1977)`."""
    for star in _STAR.finditer(lower):
        match = date_pattern().match(lower, star.end())
        if match and is_date(match):
            yield Finding(match.start(), match.end(), "DATE_OF_BIRTH", 0.85, "date after the sign of birth")


def _before_word(passage: Passage) -> Iterator[Finding]:
    """Dates that stand before `is my date of birth`, or before the verb of birth."""
    lower, done = passage.lower, -1
    for verb in _VERBS.finditer(lower):
        for match in _dates(lower, max(done, verb.start() - 64), verb.start()):
            between = _TO_GERMAN_VERB if verb.group("last") else _TO_VERB
            if between.fullmatch(lower, match.end(), verb.start()) and is_date(match):
                done = match.end()
                yield Finding(match.start(), done, "DATE_OF_BIRTH", 0.88, "date before the verb of birth")
    for end in passage.hits(vocabulary("birth_noun")):
        for match in _dates(lower, end - 72, end):
            if _AFTER.match(lower, match.end(), end) and is_date(match):
                yield Finding(
                    match.start(), match.end(), "DATE_OF_BIRTH", 0.88, "date before a word of birth"
                )


def _dates(lower: str, start: int, end: int) -> Iterator[re.Match[str]]:
    """The dates in a stretch of text."""
    start = max(0, start)
    if start < end and _DIGIT.search(lower, start, end):
        yield from date_pattern().finditer(lower, start, end)


class _Columns:
    """Dates under headings. A line is cut into cells once, and a column looked through
    once, however many words of birth its heading has.
    """

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._tables: dict[int, tuple[str, list[list[int]]]] = {}
        self._dates: dict[tuple[int, int], tuple[Finding, ...]] = {}

    def look_under(self, end: int) -> bool:
        """Whether there are dates under the cell in which a word ends there."""
        lower = self._passage.lower
        line_end = lower.find("\n", end, end + _LINE)
        if line_end < 0:
            return False
        line_start = max(lower.rfind("\n", max(0, end - _LINE), end) + 1, end - _LINE, 0)
        if line_end not in self._tables:
            mark = max(_MARKS_OF_COLUMNS, key=lambda m: lower.count(m, line_start, line_end))
            self._tables[line_end] = mark, list(self._rows(line_end + 1, mark))
        mark, rows = self._tables[line_end]
        if lower.find(mark, line_start, line_end) < 0:
            return False
        column = lower.count(mark, line_start, end)
        if (line_end, column) not in self._dates:
            self._dates[line_end, column] = tuple(self._in_column(rows, column))
        return bool(self._dates[line_end, column])

    def found(self) -> Iterator[Finding]:
        """The dates of all columns that were looked at, each once."""
        return chain.from_iterable(self._dates.values())

    def _rows(self, start: int, mark: str) -> Iterator[list[int]]:
        """Of each row where its cells begin, and where one more would; up to a row that
        speaks of birth itself.
        """
        lower = self._passage.lower
        for _ in range(_ROWS):
            stop = lower.find("\n", start, start + _LINE)
            stop = min(len(lower), start + _LINE) if stop < 0 else stop
            if start >= stop or self._passage.last_before(vocabulary("birth"), stop, stop - start) > start:
                return
            cells = lower[start:stop].split(mark)
            yield list(accumulate([len(cell) + 1 for cell in cells], initial=start))
            start = stop + 1

    def _in_column(self, rows: list[list[int]], column: int) -> Iterator[Finding]:
        """The dates with which the cells of a column begin, up to a row without one."""
        lower = self._passage.lower
        for cells in rows:
            start, end = (cells[column], cells[column + 1] - 1) if column + 1 < len(cells) else (-1, -1)
            if start < 0 or start == cells[-1] - 1:
                return
            match = date_pattern().search(lower, start, end)
            if match and not lower[start : match.start()].strip(' "') and is_date(match):
                yield Finding(
                    match.start(), match.end(), "DATE_OF_BIRTH", 0.88, "in a column of dates of birth"
                )
