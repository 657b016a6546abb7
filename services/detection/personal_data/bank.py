"""Bank account numbers with an international check (IBAN)."""

import re
from collections.abc import Iterator

from services.detection.finding import Finding
from services.detection.passage import Passage

# Countries by the length of their accounts: SWIFT IBAN registry, release 99, and the
# unregistered ones in use.
_COUNTRIES_BY_LENGTH = (
    (15, "NO"),
    (16, "BE"),
    (18, "DK FI FK FO GL NL SD"),
    (19, "MK SI"),
    (20, "AT BA EE KZ LT LU MN XK"),
    (21, "CH HR LI LV"),
    (22, "BG BH CR DE GB GE IE ME RS VA"),
    (23, "AE GI IL IQ OM SO TL"),
    (24, "AD CZ ES MD PK RO SA SE SK TN VG"),
    (25, "AO CV GW LY MZ PT ST"),
    (26, "DZ IR IS TR"),
    (27, "BI CF CG CM DJ FR GA GQ GR IT KM MC MG MR SM TD"),
    (28, "AL AZ BF BJ BY CI CY DO GT HN HU LB MA ML NE NI PL SN SV TG"),
    (29, "BR EG PS QA UA"),
    (30, "JO KW MU YE"),
    (31, "MT SC"),
    (32, "LC"),
    (33, "RU"),
)
_LENGTHS = {country: length for length, countries in _COUNTRIES_BY_LENGTH for country in countries.split()}
_CHECK_DIGITS = re.compile(r"[0-9](?<=[A-Za-z]{2}[0-9])(?<![^\W_][A-Za-z]{2}[0-9])[0-9](?=[ -]?[A-Za-z0-9])")
_BODY = re.compile(r"(?:[ -]?[A-Za-z0-9])*+")
_DROP = {ord(c): None for c in " -"}


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
    """Where `length` letters and digits from `start`, in one block or in groups, end; 0
    if they don't fit.
    """
    end = start + length
    if not text[start:end].isalnum():
        end = start + length + (length - 1) // 4  # groups of four
        if len(text[start:end].translate(_DROP)) != length:
            body = _BODY.match(text, start, start + 2 * length)
            end = start + _length_of(body.group() if body else "", length)
    return 0 if end == start or text[end : end + 1].isalnum() else end


def _length_of(body: str, length: int) -> int:
    """How many characters of the body hold `length` letters and digits, 0 if it holds
    fewer.
    """
    seen = 0
    for position, character in enumerate(body, start=1):
        seen += character.isalnum()
        if seen == length:
            return position
    return 0


_VALUES = {ord(c): str(int(c, 36)) for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def is_iban(value: str) -> bool:
    """Whether letters and digits of the value satisfy ISO 13616 (remainder 1 modulo
    97).
    """
    compact = value.translate(_DROP).upper()
    if _LENGTHS.get(compact[:2]) != len(compact) or not compact.isascii() or not compact.isalnum():
        return False
    return int((compact[4:] + compact[:4]).translate(_VALUES)) % 97 == 1
