"""Dates of birth: a date that the text says somebody was born on."""

import re
from collections.abc import Iterator
from datetime import date
from functools import lru_cache

from services.detection.finding import Finding
from services.detection.passage import Passage
from services.detection.personal_data.words import months, vocabulary

_AFTER = re.compile(
    r"(?<=[\s,(])(?:is|was|est|était|being|is also)\s(?:my|his|her|their|your|the|ma|sa|votre|ta|leur|la)\s"
    r"(?:date of birth|birth ?date|birthday|dob|date de naissance|anniversaire)",
    re.IGNORECASE,
)
_REACH = 48
_DIGIT = re.compile(r"[0-9]")


@lru_cache(maxsize=1)
def _date_pattern() -> re.Pattern[str]:
    """Dates in figures, and with the month's name in six languages; groups y…, m…, d…
    or a, b where the order is open.
    """
    month = "|".join(sorted(months(), key=len, reverse=True))
    return re.compile(
        rf"(?<![\w/.-])(?:(?P<y1>(?:18|19|20)[0-9]{{2}})(?P<s1>[-/.])(?P<m1>[0-9]{{1,2}})(?P=s1)(?P<d1>[0-9]{{1,2}})"
        rf"|(?P<a>[0-9]{{1,2}})(?P<s2>\s?[-/.]\s?)(?P<b>[0-9]{{1,2}})(?P=s2)(?P<y2>[0-9]{{4}}|[0-9]{{2}})"
        rf"|(?P<a2>[0-9]{{2}}) (?P<b2>[0-9]{{2}}) (?P<y6>(?:19|20)[0-9]{{2}})"
        rf"|(?P<d3>[0-9]{{1,2}})(?:st|nd|rd|th|er|º|ª|\.)?[ -](?:of |de |d')?(?P<m3>{month})\.?,?[ "
        rf"-](?:de |del )?(?P<y3>[0-9]{{4}})"
        rf"|(?P<m4>{month})\.? (?P<d4>[0-9]{{1,2}})(?:st|nd|rd|th)?,? (?P<y4>[0-9]{{4}})"
        rf"|(?P<y5>(?:18|19|20)[0-9]{{2}})[ -](?P<m5>{month})[ -](?P<d5>[0-9]{{1,2}}))(?![\w/]|-\w)"
    )


def recognise(passage: Passage) -> Iterator[Finding]:
    """Dates within reach after a word of birth, in the same sentence, or just before
    `is my date of birth`.
    """
    text, lower = passage.text, passage.lower
    ends = passage.hits(vocabulary("birth"))
    for end, following in zip(ends, [*ends, len(text) + _REACH][1:], strict=True):
        window_end = min(len(text), end + _REACH + 16, following)  # the nearest word before a date decides
        match = (
            _date_pattern().search(lower, end, window_end) if _DIGIT.search(lower, end, window_end) else None
        )
        if (
            match
            and match.start() - end <= _REACH
            and _is_same_sentence(text[end : match.start()])
            and _is_date(match)
        ):
            yield Finding(match.start(), match.end(), "DATE_OF_BIRTH", 0.9, "date after a word of birth")
    if " birth" in lower or "naissance" in lower or " dob" in lower or "anniversaire" in lower:
        yield from _named_after(passage)


def _named_after(passage: Passage) -> Iterator[Finding]:
    """Dates that stand just before `is my date of birth`."""
    for word in _AFTER.finditer(passage.text):
        for match in _date_pattern().finditer(passage.lower, max(0, word.start() - 32), word.start()):
            if word.start() - match.end() <= 3 and _is_date(match):
                yield Finding(
                    match.start(), match.end(), "DATE_OF_BIRTH", 0.88, "date before a word of birth"
                )


def _is_same_sentence(gap: str) -> bool:
    """Whether nothing between word and date ends the thought."""
    return not re.search(
        r"[!;]|\.\s+\w{3,}|\n\s*\n|\b(?:joined|died|married|mort|décédé|since|depuis|founded)\b", gap
    )


def _is_date(match: re.Match[str]) -> bool:
    """Whether the calendar has such a day, read day first or month first."""
    parts = {k: v for k, v in match.groupdict().items() if v is not None}
    year = next(int(v) for k, v in parts.items() if k[0] == "y")
    if "y2" in parts and len(parts["y2"]) == 2:
        year += 1900 if year > 30 else 2000
    if "a" in parts or "a2" in parts:
        first, second = int(parts.get("a") or parts["a2"]), int(parts.get("b") or parts["b2"])
        return _exists(year, second, first) or _exists(year, first, second)
    month = next(v for k, v in parts.items() if k[0] == "m")
    day = next(int(v) for k, v in parts.items() if k[0] == "d")
    return _exists(year, int(month) if month.isdigit() else months()[month], day)


def _exists(year: int, month: int, day: int) -> bool:
    try:
        return 1850 <= date(year, month, day).year <= 2100
    except ValueError:
        return False
