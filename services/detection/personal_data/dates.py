"""Dates as people write them: in figures, and with the month's name in six languages."""

import re
from datetime import date
from functools import lru_cache

from services.detection.personal_data.words import months


def _month() -> str:
    return "|".join(sorted(map(re.escape, months()), key=len, reverse=True))


_DAY = r"[0-9]{1,2}(?:st|nd|rd|th|er|\.?[º°]|ª|\.)?"
_OF = r"(?: of | de | d'|[ ./-]{1,2})"
_YEAR_AFTER = r"(?:\.?,? (?:de l'an |del año |de |del |dell'anno )?|[ ./-]{1,2})"
_YEAR = "(?:18|19|20)[0-9]{2}"


@lru_cache(maxsize=1)
def date_pattern() -> re.Pattern[str]:
    """Whole dates in lower-case text; groups y…, m…, d… or a, b where the order is
    open.
    """
    month = _month()
    return re.compile(
        rf"(?<![\w/.-])(?:(?P<y1>{_YEAR})(?P<s1>[-/. ])(?P<m1>[0-9]{{1,2}})(?P=s1)(?P<d1>[0-9]{{1,2}})"
        rf"|(?P<a>[0-9]{{1,2}})(?P<s2>\s?[-/.]\s?)(?P<b>[0-9]{{1,2}})(?P=s2)(?P<y2>[0-9]{{4}}|[0-9]{{2}})"
        rf"|(?P<a2>[0-9]{{2}}) (?P<b2>[0-9]{{2}}) (?P<y6>(?:19|20)[0-9]{{2}})"
        rf"|(?P<y7>(?:19|20)[0-9]{{2}})(?P<m7>0[1-9]|1[0-2])(?P<d7>[0-3][0-9])"
        rf"|(?P<a3>[0-3][0-9])(?P<b3>[0-3][0-9])(?P<y8>(?:19|20)[0-9]{{2}})"
        rf"|(?P<d3>{_DAY}){_OF}(?P<m3>{month}){_YEAR_AFTER}(?P<y3>[0-9]{{4}}|['’][0-9]{{2}})"
        rf"|(?P<m4>{month})\.? (?:the )?(?P<d4>[0-9]{{1,2}})(?:st|nd|rd|th)?,? "
        rf"(?P<y4>[0-9]{{4}}|['’][0-9]{{2}})"
        rf"|(?P<y5>{_YEAR})[ -](?P<m5>{month})[ -](?P<d5>[0-9]{{1,2}}))(?!(?!t[0-9]{{2}}:)\w|/|-\w)"
    )


@lru_cache(maxsize=1)
def day_pattern() -> re.Pattern[str]:
    """A day of the year, its month by name."""
    month = _month()
    return re.compile(
        rf"(?<![\w/.-])(?:(?P<d3>{_DAY})(?: of | de | d'| )(?P<m3>{month})"
        rf"|(?P<m4>{month})\.? (?:the )?(?P<d4>[0-9]{{1,2}})(?:st|nd|rd|th)?)(?!\w|/|-\w)"
    )


_LEAP_YEAR = 2000


def is_date(match: re.Match[str]) -> bool:
    """Whether the calendar has such a day, read day first or month first."""
    parts = {k: v for k, v in match.groupdict().items() if v is not None}
    year = _year_of(next((v for k, v in parts.items() if k[0] == "y"), str(_LEAP_YEAR)))
    pair = [v for k, v in parts.items() if k[0] in "ab"]
    if pair:
        first, second = int(pair[0]), int(pair[1])
        return _exists(year, second, first) or _exists(year, first, second)
    month = next(v for k, v in parts.items() if k[0] == "m")
    day = next(re.sub(r"\D", "", v) for k, v in parts.items() if k[0] == "d")
    return _exists(year, int(month) if month.isdigit() else months()[month], int(day))


def _year_of(text: str) -> int:
    """Four digits, or two with the century that makes a living person's birth likely."""
    year = int(text.lstrip("'’"))
    return year if year > 99 else year + (1900 if year > 30 else 2000)


def _exists(year: int, month: int, day: int) -> bool:
    try:
        return 1850 <= date(year, month, day).year <= 2100
    except ValueError:
        return False
