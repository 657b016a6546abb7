"""Where a postal address may begin: a street with its number, a post-office box, a
military unit.

French: the kind of way leads. English: number, name, kind of street. The Continent: the
number comes last, the kind of street is the first word (`Via Roma 12`) or an ending
(`Hauptstraße 5`).
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from services.detection.passage import Passage
from services.detection.personal_data.words import months, vocabulary, word_set

CAPITALISED = r"[A-ZÀ-ÖØ-ÞŁŚŠŽŻČĆŘĎŇŤĐΆ-ΏΑ-ΩА-Я][\w'’.-]*+"
_HOUSE = r"[0-9]{1,6}(?:-[0-9]{1,4})?[A-Za-z]?(?: ?(?:bis|ter|quater))?"
_REACH = 110  # characters within which a code or a country must follow a core that needs one


class Core(NamedTuple):
    """The beginning of an address: where it stands, whether it is one without a town
    too, why, and whether it has its town already.
    """

    start: int
    end: int
    is_sure: bool
    evidence: str
    is_closed: bool = False


def cores(passage: Passage, closings: list[int], *, has_capitals: bool = True) -> list[Core]:
    """Beginnings of addresses by position, the longest first where several begin at one
    place. Names that nothing but capitals tell from other words are looked for only in
    a text that had them.
    """
    found = [
        *_french(passage, closings),
        *_english(passage, closings),
        *_continental(passage),
        *(_before_code(passage, closings) if has_capitals else ()),
        *_corners(passage),
        *_boxes(passage, closings),
    ]
    return sorted(found, key=lambda core: (core.start, -core.end))


_CODE_LIKE = re.compile(
    r"[0-9](?<![0-9][0-9])(?:[0-9]{3,5}(?![0-9])|[0-9] [0-9]{3}(?![0-9])|[A-Z][A-Z0-9](?![A-Za-z0-9]))"
)  # the last: London, Toronto


def find_closings(passage: Passage) -> list[int]:
    """Where something stands that may close an address: a post code or a country.

    Most numbers have none near, and cost nothing more.
    """
    return sorted(
        [
            *(match.start() for match in _CODE_LIKE.finditer(passage.text)),
            *passage.hits(vocabulary("countries")),
        ]
    )


def _is_closed(closings: list[int], start: int) -> bool:
    index = bisect_right(closings, start)
    return index < len(closings) and closings[index] - start <= _REACH


# -- France.
_NUMBER_BEFORE = re.compile(rf"(?<![\w.,/-]){_HOUSE},? {{1,2}}\Z", re.IGNORECASE)
_SMALL = r"(?:de la|de l['’]|des|du|de|d['’]|la|le|les|l['’]|aux|au|à la|à|en|sur|sous|et)(?: |(?<=['’]))"
_WAY_NAME = re.compile(
    rf" {{1,2}}(?:{_SMALL}){{0,3}}(?:[0-9]{{1,2}} [a-zà-ÿ]+ (?:19|20)[0-9]{{2}}|[\w'’.-]+)"
    rf"(?: (?:{_SMALL}){{0,3}}(?:(?!Ap+t|Suite|Bât){CAPITALISED}|[0-9]{{1,2}} [a-zà-ÿ]+(?: "
    rf"(?:19|20)[0-9]{{2}})?)){{0,6}}"
)
_IS_NAME = re.compile(r" {1,2}(?:(?:de la|de l['’]|des|du|de|d['’]|la|le) ?)?[A-ZÀ-Þ]")
_NUMBER_AFTER = re.compile(r",? [0-9]{1,4}[a-z]?(?=[ ,\n])")  # Switzerland, Belgium
_AMOUNT = re.compile(r"[0-9]{2} [0-9]{3} {1,2}[a-zà-ÿ]")  # `12 000 personnes`
_TO_TOWN = re.compile(r"[^.!?;:0-9]{0,40}(?:(?:BP|CS|B\.P\.) ?[0-9]{1,6}[ ,\n-]{1,3})?(?:F-|FR-)?")
_TOWN = re.compile(
    rf"(?:[0-9]{{2}} ?[0-9]{{3}}|(?!19|20)[0-9]{{4}}) {{1,2}}{CAPITALISED}"
    rf"(?:(?:[ -](?:sur|sous|de la|de|du|des|la|le|les|en|lès|lez|aux?|et))?[ -](?:[ld]['’])?{CAPITALISED})"
    r"{0,8}+"
    r"(?: cedex(?: [0-9]{1,2})?)?(?:,? France)?(?!\w)",
    re.IGNORECASE,
)


def _french(passage: Passage, closings: list[int]) -> Iterator[Core]:
    """A way with a number before it, or with a post code and town after it."""
    text, done = passage.text, -1
    for end in passage.hits(vocabulary("french_ways", "other_french_ways")):
        begin = _word_start(text, end)
        name = _WAY_NAME.match(text, end) if begin >= done else None
        if name is None:
            continue
        done = name.end()
        number = _NUMBER_BEFORE.search(text, max(0, begin - 16), begin)
        start = number.start() if number else begin
        is_plain = passage.lower[begin:end] in word_set("french_ways")
        town_end = _town_after(text, end, name.end(), closings)
        if town_end:
            yield Core(start, town_end, is_sure=True, evidence="way, post code and town", is_closed=True)
        elif number and (is_plain or _IS_NAME.match(name.group())):
            yield Core(start, _strip(text, name.end()), is_plain, "numbered way")
        elif last_number := _NUMBER_AFTER.match(text, name.end()):
            is_sure = is_plain and _IS_NAME.match(name.group()) is not None
            yield Core(begin, last_number.end(), is_sure, "way and number")


def _town_after(text: str, way_end: int, name_end: int, closings: list[int]) -> int:
    """Where the post code and town that follow a way end; 0 when none do."""
    first = bisect_left(closings, way_end)
    for code in closings[first : first + 4]:
        if code > name_end + 48:
            break
        gap = None if _AMOUNT.match(text, code) else _TO_TOWN.fullmatch(text, min(name_end, code), code)
        town = _TOWN.match(text, code) if gap and text[min(name_end, code) : code].count("\n") <= 1 else None
        if town:
            return _last_capitalised(text, code, town.end())
    return 0


_LOWER_TAIL = re.compile(r"(?: (?!cedex)[a-zà-ÿ][\w'’-]*)+\Z")


def _last_capitalised(text: str, start: int, end: int) -> int:
    """The end of a town's name without the lower-case words that a pattern blind to
    case took along.
    """
    tail = _LOWER_TAIL.search(text, start, end)
    return _strip(text, tail.start() if tail else end)


def _strip(text: str, end: int) -> int:
    while text[end - 1] in ".,-'’ ":
        end -= 1
    return end


def _word_start(text: str, end: int) -> int:
    """Where the word that ends at `end` begins."""
    start = end
    while start > 0 and end - start < 32 and (text[start - 1].isalpha() or text[start - 1] in ".-/"):
        start -= 1
    return start


# -- English.
_NUMBERED = re.compile(
    r"[0-9](?<![\w.,/-][0-9])(?<!# [0-9])[0-9]{0,5}(?:-[0-9]{1,4})?[A-Za-z]?(?: [0-9]{1,4})?,? "
    r"(?=[A-ZÀ-Þ0-9Ά-ΏΑ-ΩА-Я])"
)
_LOOSE = re.compile(
    rf"(?:{CAPITALISED}|r|rúa|rue|via)(?: "
    rf"(?:{CAPITALISED}|de|da|do|dos|di|del|della|la|el|los|van|der|den|zu|am|i|y|e|du|des|u\.|út|utca|útja|ul\.)){{0,5}}"
    r"(?: [0-9]{1,4}[A-Za-z]?(?!\w)\.?)?"
)


@lru_cache(maxsize=1)
def _street_name() -> re.Pattern[str]:
    """Up to five words, the kind of street, and perhaps a point of the compass; group
    `kind` holds the kind.
    """
    kinds = "|".join(re.escape(word) for word in sorted(word_set("streets"), key=len, reverse=True))
    return re.compile(
        rf"(?:(?:[NSEW]{{1,2}}\.?|{CAPITALISED}|[0-9]{{1,3}}(?:st|nd|rd|th)|of|the|de|la) "
        rf"){{1,5}}?(?P<kind>{kinds}|{kinds.title()}|{kinds.upper()})(?![\w'’])"
        r"(?: (?:[NSEW]|NE|NW|SE|SW|North|South|East|West)(?!\w))?"
    )


def _english(passage: Passage, closings: list[int]) -> Iterator[Core]:
    """A number followed by a name and `Street`, or by capitalised words that a code or
    a country must close.
    """
    text, kinds, units = passage.text, passage.hits(vocabulary("streets")), passage.hits(vocabulary("units"))
    for number in _NUMBERED.finditer(text):
        start, end = number.span()
        has_kind = bisect_right(kinds, end + 48) > bisect_right(kinds, end)
        is_announced = passage.last_before(vocabulary("address"), start, 24) >= 0
        is_near = (
            is_announced
            or _is_closed(closings, end)
            or bisect_right(units, end + 60) > bisect_right(units, end)
        )
        if not (has_kind or is_near) or _is_date_or_year(text, start, end):
            continue
        street = _street_name().match(text, end) if has_kind else None
        if street and street.group("kind")[0].isupper():
            yield Core(start, street.end(), is_sure=True, evidence="number and street")
            continue
        loose = _LOOSE.match(text, end)
        ends_in_number = loose is not None and loose.group().rstrip(".")[-1].isdigit()
        if loose and (ends_in_number or " " in loose.group()) and is_near:
            is_sure = ends_in_number and (is_announced or _UNIT_NUMBER.match(text, loose.end()) is not None)
            yield Core(start, loose.end(), is_sure, "number and names")


_UNIT_NUMBER = re.compile(r"[,\n> ]{1,4}(?:Apt|Suite|Ste|Unit|Flat)\.? ?#?[0-9]", re.IGNORECASE)
_YEAR = re.compile(
    r"(?:in|en|since|depuis|year|année|by|from|until|before|after|of|the"
    r"|im|nel|del|de|during|circa|spring|summer|autumn|winter) (?:19|20)[0-9]{2}\Z",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")


def _is_date_or_year(text: str, start: int, end: int) -> bool:
    """Whether the number is the day of a date (`5 Avril`) or a year (`in 1995 Baker
    Street …`).
    """
    word = _WORD.match(text, end)
    if word and (word.group().lower() in months() or word.group().lower() in word_set("measures")):
        return True
    number_end = start + 4
    return text[start:number_end].isdigit() and _YEAR.search(text, max(0, start - 10), number_end) is not None


# -- The Continent.
_BUILDING = re.compile(r"(?<![\w.,/-])[0-9]{1,6} \Z")
_LAST_NUMBER = (
    r",? {1,2}(?:(?:n[°º.]{0,2}|n[úu]m\.|nr\.) ?)?"
    r"(?:[0-9]{1,4}(?: ?[A-Za-z](?!\w))?(?:[-/][0-9]{0,4}[A-Za-z]?)?|s/n|snc)(?!\w)"
)
_ENDS_IN_NUMBER = re.compile(_LAST_NUMBER)
_NAME_AND_NUMBER = re.compile(
    r"(?: "
    rf"(?:{CAPITALISED}|de|la|las|los|del|della|delle|dei|di|da|do|dos|das|y|e|san|santa)){{1,5}}{_LAST_NUMBER}"
)


def _continental(passage: Passage) -> Iterator[Core]:
    text = passage.text
    for pattern, name in ((_ENDS_IN_NUMBER, "street_endings"), (_NAME_AND_NUMBER, "street_beginnings")):
        for end in passage.hits(vocabulary(name)):
            rest = pattern.match(text, end)
            if rest is None:
                continue
            begin = _word_start(text, end)
            if name == "street_endings" and passage.lower[begin:end] in word_set("bare_streets"):
                begin = _word_start(text, begin - 1) if begin and text[begin - 1] == " " else begin
            building = _BUILDING.search(text, max(0, begin - 8), begin)
            is_sure = text[begin].isupper() and not passage.lower[begin:end].endswith("ring")  # `During 2017`
            is_sure = is_sure or passage.last_before(vocabulary("address"), begin, 8) >= 0
            yield Core(building.start() if building else begin, rest.end(), is_sure, "street and number")


# -- A name and a number that a post code and a town follow, whatever the way is called.
_STREET_PREPOSITION = (
    "an|am|im|in|zum|zur|auf|der|den|dem|des|und|von|vom|unter"
    "|de|del|della|delle|dei|degli|di|da|do|dos|la|las|los|el|y|e|du"
)
_NUMBERED_NAME = re.compile(
    rf"(?<![\w.,/-]){CAPITALISED}(?:[ -](?:{CAPITALISED}|{_STREET_PREPOSITION})(?![\w])){{0,6}},? "
    rf"(?:(?:n[°º.]{{0,2}}|n[úu]m\.|nr\.) ?)?[0-9]{{1,4}}(?: ?[A-Za-z](?!\w))?(?:[-/][0-9]{{0,4}}[A-Za-z]?)?"
    r"(?:, (?:[0-9]{1,2}[^\n,;:!?]{0,14}|bajo[^\n,;:!?]{0,8}"
    r"|[^\W\d_]{2,6}\.? ?[0-9A-Z]{1,3})(?=,)){0,2} ?(?:,|\n| -)[ \n]{0,4}(?:[A-Z]{1,3}-)?\Z"
)
_CODE_AND_TOWN = re.compile(
    rf"(?:[0-9]{{5}}|(?!19|20)[0-9]{{4}}) {CAPITALISED}"
    rf"(?:[ -](?:(?:am|an der|im|in|bei|ob der|de|del|della|di|la|el|las|los|en|sur|sous|les) ?)?"
    rf"{CAPITALISED}){{0,3}}"
    r"(?: \([^\W\d_]{2,20}\))?"
)
_NUMBERED_OTHERWISE = re.compile(
    r"(?:page|seite|chapter|kapitel|article|artikel|version|figure|table|part|section|volume|band|heft|number|nummer|no"
    r"|nr|release|room|lot|order|line|zeile|row)[ .,]*[0-9][^ ]*\Z",
    re.IGNORECASE,
)


def _before_code(passage: Passage, closings: list[int]) -> Iterator[Core]:
    """`Am Alten Markt 3, 18055 Rostock`: found from the post code backwards."""
    text, done = passage.text, 0
    for code in closings:
        town = _CODE_AND_TOWN.match(text, code) if code >= done else None
        name = _NUMBERED_NAME.search(text, max(done, code - 84), code) if town else None
        if town is None or name is None or _NUMBERED_OTHERWISE.search(name.group().split(",")[0].rstrip()):
            continue
        done = _strip(text, town.end())
        yield Core(
            name.start(), done, is_sure=True, evidence="name, number, post code and town", is_closed=True
        )


# -- Corners.
_CORNER = re.compile(
    rf"(?:the )?corner of (?P<first>[^.,;\n]{{2,48}}?\.?) and "
    rf"(?P<second>{CAPITALISED}(?: (?:{CAPITALISED}|de|la|van|der|ten)){{0,4}})"
)


def _corners(passage: Passage) -> Iterator[Core]:
    """Two streets that meet: `the corner of 5th Avenue and Main Street`."""
    if "corner" in passage.present:
        for corner in _CORNER.finditer(passage.text):
            first = corner.group("first")
            if any(c.isdigit() for c in corner.group()) or (first[0].isupper() and " " in first):
                yield Core(
                    corner.start(), _strip(passage.text, corner.end()), is_sure=True, evidence="corner"
                )


# -- Boxes, and flats that come before their house.
_FLAT = re.compile(
    rf"(?<!\w)(?:Flat|Studio|Unit|Apartment|Suite) [0-9]{{1,4}}[A-Za-z]?[,\n]\s?{CAPITALISED}(?: "
    rf"{CAPITALISED}){{0,3}}"
)
_MILITARY = re.compile(
    r"(?:(?:Unit [0-9]{1,5},? Box [0-9]{1,5}|PSC [0-9]{1,5},? Box [0-9]{1,5}|US(?:NS|S|CGC|NV|CG) "
    r"[A-Z][\w'’-]+)[,\s]{1,3})"
    r"(?:APO|FPO|DPO),? A[AEP] [0-9]{5}(?:-[0-9]{4})?",
    re.IGNORECASE,
)
_BOX = re.compile(
    r"(?:P\. ?O\. ?Box|PO Box|Post Office Box|Postfach|Casella postale|Apartado(?: de correos)?)(?: "
    r"n[°º])? ?[0-9]{1,6}(?: [0-9]{2,3}(?![0-9])){0,2}(?!\w)",
    re.IGNORECASE,
)


def _boxes(passage: Passage, closings: list[int]) -> Iterator[Core]:
    if passage.present & {"flat", "studio", "unit", "apartment", "suite"}:
        yield from (
            Core(m.start(), m.end(), is_sure=False, evidence="flat and names")
            for m in _FLAT.finditer(passage.text)
            if _is_closed(closings, m.start())
        )
    if passage.present & {"apo", "fpo", "dpo"}:
        yield from (
            Core(m.start(), m.end(), is_sure=True, evidence="military post office")
            for m in _MILITARY.finditer(passage.text)
        )
    if passage.present & {"box", "postfach", "casella", "apartado"}:
        yield from (
            Core(m.start(), m.end(), is_sure=True, evidence="post-office box")
            for m in _BOX.finditer(passage.text)
        )
