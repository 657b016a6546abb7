"""Phone numbers, by numbering plans, in international form and in the national forms of
nine countries.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from services.detection.finding import Finding
from services.detection.passage import Passage, Vocabulary
from services.detection.personal_data.plans import in_plan, lengths_of, region_of
from services.detection.personal_data.words import vocabulary

EXTENSION = re.compile(
    r" ?(?:x|ext\.?|extension|poste|p\.|durchwahl|#) ?[0-9]{1,6}(?![0-9A-Za-z])", re.IGNORECASE
)
# Between a word that announces a phone and the number nothing but these may stand; then
# even a number of no known plan is one.
_LINK = re.compile(
    r"(?:-(?:moi|nous))?(?: ?(?:me|us|him|her|back|number|no|num[eé]ro|n°|nr|#))?\.?"
    r"(?: ?(?:is|est|at|on|to|au|à|sur|le|el|es|al|ist|unter|auf|sous|de|the))?"
    r"[\s:.=#–-]{0,4}(?:(?:le|au|the|is|est) )?\(?",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"\)?,? {0,2}-? "
    r"?\(?(?:fax|office|mobile|cell|desk|home|work|bureau|portable|domicile|\(m\)|\(h\)|\(w\))(?![A-Za-z])",
    re.IGNORECASE,
)
_MEASURE = re.compile(
    r" "
    r"?(?:€|\$|£|%|euros?|eur|usd|dollars?|chf|km|kg|m²|habitants|inhabitants|people|personnes|bytes|octets|ms|ns|tokens|votes|rows|lignes|units)(?![A-Za-z])",
    re.IGNORECASE,
)
# How people write numbers: a plus or 00, a parenthesised area code, groups parted by
# single marks.
_INTERNATIONAL = re.compile(
    r"(?:\+|00|\(\+?|011[ -])[ (]?[1-9][0-9]{0,2}\)?[ .\-/]{0,2}(?:\(0\)[ "
    r".\-]?)?(?:\([0-9]{1,5}\)|[0-9]+)(?:[ .\-/]{1,3}\(?[0-9]{1,}\)?)*"
)
_NANP = re.compile(
    r"(?:1[ .-]?)?(?:\([2-9][0-9]{2}\)[ .-]?[0-9]{3}[ .-][0-9]{4}|[2-9][0-9]{2}(?:([ .-])[0-9]{3}\1| "
    r"[0-9]{3}-)[0-9]{4})"
)
_LEADING_ZERO = re.compile(
    r"(?:\(0[0-9]{1,5}\) ?|0[0-9]{1,5}(?:[ .\-/]| - ))[0-9]{2,8}(?:[ .\-/][0-9]{2,8}){0,4}"
)
_STRICT_NANP = re.compile(r"(?:1 )?[2-9][0-9]{2} [2-9][0-9]{2} [0-9]{4}")
_NANP_LIKE = re.compile(r"(?:1[ .-]?)?(?:[2-9][0-9]{9}|[0-9]{3}([ .-])[0-9]{3}\1[0-9]{4})")
_ZIP_PLUS_FOUR = re.compile(r"[0-9]{5}-[0-9]{4}")
_TRIPLES = re.compile(
    r"[0-9]{3}(?:[ .-][0-9]{3}){2,}|[0-9]{4}(?:[ .-][0-9]{4}){2,}"
)  # a row of codes; no plan groups so
# `my number`, `au numéro`, `unter der Nummer`; never `serial number`, `numéro de lot`.
_OWN_NUMBER = re.compile(
    r"(?:^|[\n.:;,!?(]|(?<!\w)(?:my|your|his|her|our|their|this|that|the|a|new|old|following|right|wrong|private|personal|work|home|emergency|direct|same|free"
    r"|mon|ton|son|notre|votre|leur|ce|le|un|au|nouveau|bon|mein|meine|meiner|deine|ihre|ihrer|seine|unsere|unserer|die|der|dieser|diese|neue"
    r"|mi|tu|su|el|este|nuestro|nuevo|al|il|mio|tuo|suo|nostro|questo|nuovo))[ \"'*_]*\Z"
)
_OF_SOMETHING = re.compile(
    r"s? ?(?:of|de|d['’]|du|des|di|del|della|dell['’]|der|von|for|pour|für|para|per)\b", re.IGNORECASE
)
_DATED = re.compile(
    r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{0,6}"
)  # serials, timestamps
_WHOLE_DECIMAL = re.compile(r"(?<![0-9.,])-?[0-9]{1,3},\Z")
_SEPARATORS = re.compile(r"[ .\-/()+]+")
_DIGITS = {ord(c): None for c in " .-/()+"}


def recognise(passage: Passage, run_start: int, groups: tuple[tuple[int, int], ...]) -> Iterator[Finding]:
    """The phone number that a run of digit groups is, or begins or ends with.

    Args:
        passage: the text.
        run_start: where the run begins, its plus or parenthesis included.
        groups: the run's digit groups that are nothing more certain.
    """
    if not groups or groups[-1][1] - groups[0][0] < 7 or not _may_hold_phone(passage, run_start, groups):
        return
    first = 0
    while first < len(groups):
        found = _longest_from(passage, groups, first, run_start)
        if found is None:
            if first or len(groups) < 3 or _is_one_number(passage.text, groups):
                return
            first += 1
            continue
        finding, used = found
        yield finding
        first += used
        if first >= len(groups) or groups[-1][1] - groups[first][0] < 7:
            return


def _is_one_number(text: str, groups: tuple[tuple[int, int], ...]) -> bool:
    """Whether the first group and the rest are written as one number: a stretch of
    another number is no phone.
    """
    return len({text[a:b] for (_, a), (b, _) in pairwise(groups)}) == 1


def _may_hold_phone(passage: Passage, run_start: int, groups: tuple[tuple[int, int], ...]) -> bool:
    """Whether anything speaks for a phone number: a plus, a leading 0, an American
    grouping, or a word around. Most rows of figures have none.
    """
    text = passage.text
    lengths = [end - start for start, end in groups]
    if len(groups) > 5 and len(set(lengths)) == 1 and lengths[0] != 2:
        return False  # a table: more groups of one length than any number has
    has_form = (
        text[run_start] in "+("
        or any(text[start] == "0" for start, _ in groups)
        or lengths[:3] == [3, 3, 4]
        or lengths[1:4] == [3, 3, 4]
    )
    return (
        has_form
        or passage.last_before(_context(), run_start, 40) >= 0
        or _AFTER.match(text, groups[-1][1]) is not None
    )


def _longest_from(
    passage: Passage, groups: tuple[tuple[int, int], ...], first: int, run_start: int
) -> tuple[Finding, int] | None:
    """The longest number that begins with group `first`, and how many groups it takes."""
    text = passage.text
    start = _closed_opening(
        text,
        run_start if first == 0 and run_start <= groups[0][0] else _opening(text, groups[first][0]),
        groups,
    )
    fewest = max(first + 1, first + min(2, len(groups) - first))
    most = 18 if text.startswith(("+", "(", "00", "011"), start) else 13
    for last in range(len(groups), fewest - 1, -1):
        if groups[last - 1][1] - start > 26:
            continue
        digits = sum(b - a for a, b in groups[first:last])
        if digits > most:
            continue
        if digits < 7:
            break
        end = groups[last - 1][1]
        verdict = _judge(passage, start, end)
        if verdict:
            extension = EXTENSION.match(text, end)
            end = extension.end() if extension else end
            return Finding(_trim(text, start, end), end, "PHONE_NUMBER", *verdict), last - first
    return None


def _opening(text: str, start: int) -> int:
    """The start of a number, with the plus or parenthesis before its first digit."""
    while start > 0 and text[start - 1] in "+(":
        start -= 1
    return start


def _closed_opening(text: str, start: int, groups: tuple[tuple[int, int], ...]) -> int:
    """The opening without parentheses that the number itself does not close: `(06 12
    …)`, `((212) 555 …)`.
    """
    while text[start] == "(" and text.count("(", start, groups[-1][1]) > text.count(
        ")", start, groups[-1][1]
    ):
        start += 1
    return start


def _trim(text: str, start: int, end: int) -> int:
    """Leave out an opening parenthesis that the number does not close."""
    return start + 1 if text[start] == "(" and ")" not in text[start:end] else start


def is_named(passage: Passage, position: int) -> bool:
    """Whether the words just before a position announce a phone number."""
    end = passage.last_before(vocabulary("phone_label"), position, 24)
    return end >= 0 and _LINK.fullmatch(passage.text, end, position) is not None


def _judge(passage: Passage, start: int, end: int) -> tuple[float, str] | None:
    """Score and evidence for text[start:end] as a phone number."""
    value = passage.text[start:end].strip()
    digits = value.translate(_DIGITS)
    if not 7 <= len(digits) <= 18 or len(set(digits)) < 2:
        return None
    is_bare_00 = value.isdigit() and (
        passage.last_before(vocabulary("other_number", "no_phone"), start, 32) >= 0
        or (len(digits) in (13, 14) and _is_gtin(digits) and passage.last_before(_context(), start, 40) < 0)
    )
    if (
        value.startswith(("+", "00", "(+", "(00", "011"))
        and not is_bare_00
        and _INTERNATIONAL.fullmatch(value)
    ):
        quality = _international(value)
        if quality:
            return quality
    if len(digits) > 13 or _MEASURE.match(passage.text, end):
        return None
    return _national(passage, start, end, value, digits)


def _international(value: str) -> tuple[float, str] | None:
    """A number with a country code: in its country's plan, or at least of a length that
    the plan knows.
    """
    digits = value.replace("(0)", "").translate(_DIGITS)
    prefixed = value.lstrip("(").startswith("+")
    if not prefixed:
        digits = digits.removeprefix("011") if value.startswith("011") else digits.removeprefix("00")
    code = next((digits[:n] for n in (1, 2, 3) if int(digits[:n] or 0) in COUNTRY_CODE_TO_REGION_CODE), None)
    if code is None:
        return None
    rest = digits[len(code) :]
    region = COUNTRY_CODE_TO_REGION_CODE[int(code)][0]
    if in_plan(region, rest) or in_plan(region, rest.removeprefix("0")):
        return 0.96, f"numbering plan of +{code}"
    if len(rest) in lengths_of(region) or len(rest.removeprefix("0")) in lengths_of(region):
        return 0.9 if prefixed else 0.8, f"length known to +{code}"
    return None


def _national(passage: Passage, start: int, end: int, value: str, digits: str) -> tuple[float, str] | None:
    """A number without country code: by its label, or by a plan and a way of writing
    that little else has.
    """
    word = _announcement(passage, start)
    if passage.last_before(vocabulary("other_number", "no_phone"), start, 32) > word:
        return (0.85, "labelled after") if _AFTER.match(passage.text, end) else None
    if _is_other_figure(passage.text, start, value):
        return None
    if word >= 0 and is_named(passage, start):
        return 0.9, "labelled"
    if _AFTER.match(passage.text, end):
        return 0.85, "labelled after"
    return _by_form(value, digits, in_context=word >= 0)


def _context() -> Vocabulary:
    return vocabulary("phone", "number_word")


def _announcement(passage: Passage, start: int) -> int:
    """Where the nearest word that speaks of a phone ends, or -1. A word for any number
    counts as `my number` or `au numéro`, and not when it says what it numbers.
    """
    phone = passage.last_before(vocabulary("phone"), start, 40)
    number = passage.last_before(vocabulary("number_word"), start, 40)
    if number <= phone:
        return phone
    if _OF_SOMETHING.match(passage.text, number):
        return -1
    begin = number
    while begin > 0 and passage.lower[begin - 1].isalpha():
        begin -= 1
    is_own = _OWN_NUMBER.search(passage.lower, max(0, begin - 14), begin) is not None
    return number if is_own or begin == 0 or phone >= number - 24 >= 0 else phone


def _is_other_figure(text: str, start: int, value: str) -> bool:
    """Whether bare digits are the decimals of a number, a date with a count (the serial
    of a zone, a time stamp), or a bar code with its check digit.
    """
    if not value.isdigit():
        return False
    return (
        bool(_DATED.fullmatch(value))
        or (len(value) in (13, 14) and _is_gtin(value))
        or (
            text[start - 1 : start] == ","
            and _WHOLE_DECIMAL.search(text, max(0, start - 6), start) is not None
        )
    )


def _is_gtin(digits: str) -> bool:
    """Whether the last digit checks the others as bar codes do (GS1, modulo 10)."""
    weighted = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(digits)))
    return weighted % 10 == 0


def _by_form(value: str, digits: str, *, in_context: bool) -> tuple[float, str] | None:
    """A number by its numbering plan and the way it is written."""
    is_loose = " " in value and not set("(-") & set(value)
    if (
        _NANP.fullmatch(value)
        and _one_mark(value)
        and (in_context or not is_loose or _STRICT_NANP.fullmatch(value))
    ):
        return 0.88, "North American form"
    region = region_of(digits)
    if digits in "01234567890" or _ZIP_PLUS_FOUR.fullmatch(value):
        return None
    if region and digits[0] == "0" and _is_written_as_phone(value):
        return 0.9, f"numbering plan of {region}, its way of writing"
    if in_context and _NANP_LIKE.fullmatch(value):
        return 0.8, "North American length, in context"
    is_short_italian = region == "IT" and digits[0] != "0" and len(digits) != 10
    is_plausible = region and in_context and not is_short_italian and value.count(".") != 1
    return (0.85, f"numbering plan of {region}, in context") if is_plausible else None


def _is_written_as_phone(value: str) -> bool:
    """Whether a number that begins with 0 is grouped as phones are, or is a bare
    French, Swiss, Belgian or British one.
    """
    if value.isdigit():
        return (len(value) == 10 and value[1] != "0") or (len(value) == 11 and value.startswith("07"))
    if not _LEADING_ZERO.fullmatch(value):
        return False
    return (
        _one_mark(value)
        and value.count(".") != 1
        and sum(map(str.isdigit, value)) >= 9
        and not _TRIPLES.fullmatch(value)
    )


def _one_mark(value: str) -> bool:
    """Whether dots, if any, are the only separator."""
    marks = set(_SEPARATORS.findall(value))
    return "." not in marks or marks <= {"."}
