"""Bank account numbers with an international check (IBAN)."""

import re
from collections.abc import Iterator

from services.common.detection.finding import Finding
from services.common.detection.passage import Passage

# Length by country: SWIFT IBAN registry, release 99.
_LENGTHS = {
    country: int(length)
    for length, countries in {
        "15": "NO", "16": "BE", "18": "DK FI FK FO GL NL SD", "19": "MK SI", "20": "AT BA EE KZ LT LU MN XK", "21": "CH HR LI LV", "22": "BG BH CR DE GB GE IE ME RS VA",
        "23": "AE GI IL IQ OM SO TL", "24": "AD CZ DZ ES MD PK RO SA SE SK TN VG", "25": "AO CV GW LY MZ PT ST", "26": "IR IS TR", "27": "BI CF CG CI CM DJ FR GA GR IT KM MC MG ML MR SM SN TD TG BF BJ GQ MA NE",
        "28": "AL AZ BY CY DO GT HN HU LB NI PL SV", "29": "BR EG PS QA UA", "30": "JO KW MU YE", "31": "MT SC", "32": "LC", "33": "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_LENGTHS |= {"BF": 28, "BJ": 28, "CI": 28, "ML": 28, "SN": 28, "TG": 28, "MA": 28, "NE": 28, "NI": 28, "DJ": 27, "BY": 28, "HN": 28}
_CHECK_DIGITS = re.compile(r"(?<=[A-Za-z]{2})(?<![^\W_][A-Za-z]{2})[0-9]{2}(?=[ \u00a0\u202f-]?[A-Za-z0-9])")
_BODY = re.compile(r"(?:[ \u00a0\u202f-]?[A-Za-z0-9])*+")
_DROP = {ord(c): None for c in " \u00a0\u202f-"}


def recognise(passage: Passage) -> Iterator[Finding]:
    """IBANs whose length fits the country and whose ISO 7064 remainder is 1."""
    text = passage.text
    for check_digits in _CHECK_DIGITS.finditer(text):
        start = check_digits.start() - 2
        length = _LENGTHS.get(text[start : start + 2].upper())
        if length is None:
            continue
        end = _end_of_account(text, start, length)
        if end and is_iban(text[start:end]):
            yield Finding(start, end, "IBAN_CODE", 0.99, "ISO 7064 mod 97-10")


def _end_of_account(text: str, start: int, length: int) -> int:
    """Where `length` letters and digits from `start`, single separators between them, end; 0 if they don't fit."""
    body = _BODY.match(text, start, start + 2 * length)
    seen, end = 0, start
    for character in body.group() if body else "":
        end += 1
        seen += character.isalnum()
        if seen == length:
            return 0 if text[end : end + 1].isalnum() else end
    return 0


def is_iban(value: str) -> bool:
    """Whether letters and digits of the value satisfy ISO 13616 (remainder 1 modulo 97)."""
    compact = value.translate(_DROP).upper()
    if _LENGTHS.get(compact[:2]) != len(compact) or not compact.isascii() or not compact.isalnum():
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1
