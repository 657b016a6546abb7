"""Postal addresses as rules find them: French, British and American, German, Spanish, Italian, Dutch and Portuguese ways of writing.

An address is a core (a street with a number, a post-office box, a military unit) and a tail of places and codes. A core
that says `street` stands alone; a mere number and capitalised words count only with a tail that ends in a post code or a
country. What has neither (a lone village, a street without number) is missed.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from services.common.detection.finding import Finding
from services.common.detection.passage import Passage
from services.common.detection.pii.words import vocabulary, word_set

if TYPE_CHECKING:
    from services.common.detection.pii.numbers import DigitRun

_CAP = r"[A-ZÀ-ÖØ-ÞŁŚŠŽŻČĆŘĎŇŤĐΑ-ΩА-Я][\w'’.-]*+"
_NUMBER = r"[0-9]{1,6}(?:-[0-9]{1,4})?[A-Za-z]?(?: ?(?:bis|ter|quater))?"

# -- France: the kind of way leads, the number before it is optional where a post code follows.
_NUMBER_BEFORE = re.compile(rf"(?<![\w.,/-])(?P<number>{_NUMBER}),? {{1,2}}\Z", re.IGNORECASE)
_SMALL = r"(?:(?:de la|de l['’]|des|du|de|d['’]|la|le|les|l['’]|aux|au|à la|à|en|sur|sous|et)(?: |(?<=['’])))"
_WAY_NAME = re.compile(
    rf" {{1,2}}(?:{_SMALL}){{0,3}}(?:[\w'’.-]+)(?:[ ](?:{_SMALL}){{0,3}}(?:{_CAP}|[0-9]{{1,2}}(?= [a-zà-ÿ]))(?:[ ](?=[a-zà-ÿ]+ (?:19|20)[0-9]{{2}})[a-zà-ÿ]+ (?:19|20)[0-9]{{2}})?){{0,6}}"
)
_FRENCH_TOWN = re.compile(
    rf"(?:[ ,–-]{{0,4}}\n?[ ,–-]{{1,3}}|\n[ \t>]{{0,6}})(?:(?:BP|CS|B\.P\.) ?[0-9]{{1,6}}[ ,\n-]{{1,3}})?(?:F-|FR-)?(?P<code>[0-9]{{2}} ?[0-9]{{3}}) {{1,2}}"
    rf"{_CAP}(?:(?:[ -](?:sur|sous|de la|de|du|des|la|le|les|en|lès|lez|aux?|et))?[ -](?:[ld]['’])?{_CAP})*+(?: (?:cedex|CEDEX|Cedex)(?: [0-9]{{1,2}})?)?(?:,? (?:France|FRANCE))?"
)

# -- English: number, name, kind of street. USPS publication 28 (appendix C1) and the British words.
_ORDINARY = re.compile(r"(?:19|20)[0-9]{2}|[0-9]{1,2} (?:January|February|March|April|May|June|July|August|September|October|November|December)", re.IGNORECASE)
_LOOSE = re.compile(
    rf"[0-9]{{1,6}}[A-Za-z]?(?: [0-9]{{1,4}})?,? {_CAP}(?: (?:{_CAP}|de|da|do|dos|di|del|della|la|el|los|van|der|den|zu|am|i|y|e)){{0,5}}(?: [0-9]{{1,4}}[A-Za-z]?(?![\w]))?"
)

# -- The Continent: the kind of street is a prefix or an ending, and the number comes last.
_BEFORE_NUMBER = re.compile(
    rf"(?<![\w'’-])(?:(?:[Vv]ia|[Vv]iale|[Pp]iazza|[Cc]orso|[Ll]argo|[Vv]icolo|[Cc]alle|[Aa]venida|[Aa]vda\.|[Pp]laza|[Pp]aseo|[Cc]arrer|[Cc]/|[Rr]ua|[Pp]raça|[Tt]ravessa|[Uu]lica|[Uu]l\.)(?: (?:{_CAP}|de|la|las|los|del|della|delle|dei|di|da|do|dos|das|y|e|san|santa)){{1,5}}"
    rf"|(?:(?:{_CAP}|[Aa]m|[Aa]n der|[Aa]uf dem|[Zz]um|[Zz]ur) ){{0,2}}{_CAP[:-2]}*?(?:straße|strasse|[Ss]tr\.|gasse|weg|platz|allee|ufer|damm|straat|laan|plein|gracht|gatan|vägen|vej|veien|katu|utca))"
    r",? {1,2}(?:n[°º.] ?)?\Z"
)
_BUILDING = re.compile(r"(?<![\w.,/-])[0-9]{1,6} \Z")
_HOUSE = re.compile(r"[0-9]{1,4}(?: ?[A-Za-z])?(?!\w)")
_STREET_ALONE = re.compile(r"(?:Straße|Strasse|Allee|Platz|Weg|Ring|Ufer|Damm) ")

_MILITARY = re.compile(
    r"(?:(?:Unit [0-9]{1,5},? Box [0-9]{1,5}|PSC [0-9]{1,5},? Box [0-9]{1,5}|US(?:NS|S|CGC|NV|CG) [A-Z][\w'’-]+)[,\s]{1,3})(?:APO|FPO|DPO),? A[AEP] [0-9]{5}(?:-[0-9]{4})?",
    re.IGNORECASE,
)
_BOX = re.compile(
    r"(?:P\. ?O\. ?Box|PO Box|Post Office Box|Postfach|Casella postale|Apartado(?: de correos)?|B\.P\.|BP)(?: n[°º])? ?[0-9]{1,6}(?![\w])", re.IGNORECASE
)

# -- Tails.
_HOUSE_AFTER = re.compile(r" [0-9]{1,4}[A-Za-z]?(?=,|\n| (?:Apt|Suite))")
_UNIT = re.compile(
    r"[ ,\n?>]{1,8}(?:(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Rm|Floor|Building|Bldg|Appt|Appartement|Bât|Bâtiment|Esc|Escalier|Étage|Lot|No)\.? ?#?[A-Z]?[0-9]{1,5}[A-Z]?(?!\w)|(?:Apt|Suite|Ste|Unit|Flat|Bât|Bâtiment|Building)\.? [A-Z](?!\w)|# ?[0-9]{1,5}(?!\w))",
    re.IGNORECASE,
)
_JOINT = re.compile(r"[ ]{0,3},?[ ]{0,2}(?:[\n][ \t?>]{0,6}(?:,[ ]?)?)?(?:\n[ \t]{0,4})?")
_PLACE = re.compile(rf"{_CAP}(?:(?:[ ]| - )(?:(?:sur|de|del|di|da|do|la|le|of|upon|am|im|der|den|an der|in der) )?{_CAP}){{0,3}}(?: \((?:{_CAP} ?){{1,2}}\))?")
_CODE = re.compile(
    r"(?:[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2}|[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9]|(?:[A-Z]{1,2}-)?[0-9]{5}(?:-[0-9]{3,4})?|[0-9]{4} ?[A-Z]{2}|[0-9]{3} [0-9]{2}|[0-9]{2}-[0-9]{3}|[0-9]{4,6})(?!\w|-\w)"
)


def recognise(passage: Passage, runs: "list[DigitRun]") -> Iterator[Finding]:
    """Postal addresses of a passage, each once."""
    done = -1
    cores = sorted([*_french(passage), *_english(passage, runs), *_continental(passage, runs), *_boxes(passage)], key=lambda c: (c[0], -c[1]))
    for start, end, is_sure, evidence in cores:
        if start < done:
            continue
        tail_end, is_closed = _tail(passage.text, end)
        if is_sure or is_closed:
            done = tail_end
            yield Finding(start, tail_end, "ADDRESS", 0.85 if is_sure and is_closed else 0.75, evidence + (", town or country" if is_closed else ""))


_Core = tuple[int, int, bool, str]


def _french(passage: Passage) -> Iterator[_Core]:
    """A way with a number before it, or a post code and town after it."""
    text = passage.text
    for end in passage.hits(vocabulary("french_ways", "other_french_ways")):
        name = _WAY_NAME.match(text, end)
        if name is None:
            continue
        begin = (
            max(
                text.rfind(" ", max(0, end - 14), end - 1),
                text.rfind("\n", max(0, end - 14), end - 1),
                text.rfind("(", max(0, end - 14), end - 1),
                max(0, end - 14) - 1 if end <= 14 else -1,
            )
            + 1
        )
        number = _NUMBER_BEFORE.search(text, max(0, begin - 16), begin)
        town = _FRENCH_TOWN.match(text, name.end()) or _FRENCH_TOWN.search(text, end, name.end() + 40)
        word = passage.lower[begin:end]
        if town and town.start() - end <= 60:
            yield (number.start() if number else begin), town.end(), True, "way, post code and town"
        elif number and (word in word_set("french_ways") or _names_a_way(name.group())):
            yield number.start(), _end_of_name(text, name), word in word_set("french_ways"), "numbered way"


def _names_a_way(name: str) -> bool:
    """Whether what follows a word such as `place` or `cours` reads as a way's name: de la République, Bellecour."""
    return re.match(r" {1,2}(?:(?:de la|de l['’]|des|du|de|d['’]|la|le) ?)?[A-ZÀ-Þ]", name) is not None


def _end_of_name(text: str, name: re.Match[str]) -> int:
    end = name.end()
    while end > name.start() and text[end - 1] in ".,-'’":
        end -= 1
    return end


@lru_cache(maxsize=1)
def _english_street() -> re.Pattern[str]:
    """Number, up to five words, kind of street, and perhaps a point of the compass."""
    kinds = "|".join(re.escape(word) for word in sorted(word_set("streets"), key=len, reverse=True))
    return re.compile(
        rf"{_NUMBER}(?: [0-9]{{1,4}}(?= [A-Z]))?,? (?:(?:[NSEW]{{1,2}}\.?|{_CAP}|[0-9]{{1,3}}(?:st|nd|rd|th)|of|the|de|la) ){{1,5}}?"
        rf"(?:{kinds})(?![\w'’])(?: (?:[NSEW]|NE|NW|SE|SW|North|South|East|West)(?!\w))?",
        re.IGNORECASE,
    )


def _english(passage: Passage, runs: "list[DigitRun]") -> Iterator[_Core]:
    """A number followed by a name and `Street`, or by capitalised words that a tail must confirm."""
    text, ways = passage.text, passage.hits(vocabulary("streets"))
    for run in runs:
        for start, end in run.groups:
            follows = text[end : end + 2]
            if end - start > 6 or len(follows) < 2 or follows[0] not in " ,":
                continue
            if bisect_right(ways, end + 52) > bisect_right(ways, end):
                street = _english_street().match(text, start)
                if street and _reads_as_street(street.group()):
                    yield start, street.end(), not _ORDINARY.match(street.group()), "number and street"
                    break
            if follows[1].isupper() or follows[1] in " 123456789":
                loose = _LOOSE.match(text, start)
                if loose:
                    yield start, loose.end(), False, "number and names"
                    break


def _reads_as_street(value: str) -> bool:
    """Whether the words between number and `street` are a name: one of them begins with a capital, or all is in one case."""
    words = [w for w in value.split()[1:] if w[0].isalpha()]
    return bool(words) and (words[0][0].isupper() and words[-1][0].isupper() if len(words) > 1 else False)


def _continental(passage: Passage, runs: "list[DigitRun]") -> Iterator[_Core]:
    text = passage.text
    for run in runs:
        start, end = run.groups[0]
        if end - start > 4 or passage.last_before(vocabulary("continental_streets"), start, 40) < 0:
            continue
        street = _BEFORE_NUMBER.search(text, max(0, start - 60), start)
        if street is None:
            continue
        begin = street.start()
        if begin and text[begin - 1] == " " and _STREET_ALONE.match(street.group()):
            begin = text.rfind(" ", 0, begin - 1) + 1
        building = _BUILDING.search(text, max(0, begin - 8), begin)
        number = _HOUSE.match(text, start)
        yield building.start() if building else begin, number.end() if number else end, True, "street and number"


def _boxes(passage: Passage) -> Iterator[_Core]:
    lower = passage.lower
    if "po a" in lower:
        yield from ((m.start(), m.end(), True, "military post office") for m in _MILITARY.finditer(passage.text))
    if "box" in lower or "postfach" in lower or "bp " in lower or "apartado" in lower or "casella" in lower:
        yield from ((m.start(), m.end(), "p" in m.group()[:2].lower() and "box" in m.group().lower(), "post-office box") for m in _BOX.finditer(passage.text))


def _tail(text: str, end: int) -> tuple[int, bool]:
    """Where the places and codes after a core end, and whether they close it with a code or a country."""
    house = _HOUSE_AFTER.match(text, end)
    end = house.end() if house else end
    unit = _UNIT.match(text, end)
    end = unit.end() if unit else end
    position, closed, comma_end = end, -1, end
    for count in range(6):
        joint = _JOINT.match(text, position)
        at = joint.end() if joint else position
        if at == position:
            break
        unit = _UNIT.match(text, position)
        if unit:
            position = end = comma_end = unit.end()
            continue
        code, place = _CODE.match(text, at), _PLACE.match(text, at)
        if code:
            position = closed = code.end()
            if count == 0 or not _is_country_next(text, position):
                town = _PLACE.match(text, position + 1) if count == 0 and text[position : position + 1] == " " else None
                return _without_stop(text, town.end() if town else position), True
            continue
        if place is None:
            break
        position = place.end()
        if count == 0 and "," in text[joint.start() : at] if joint else False:
            comma_end = position
        if place.group().rstrip(".").lower() in word_set("countries") or place.group() in word_set("states") and _follows_state(text, position):
            closed = position
    return _without_stop(text, max(closed, comma_end, end)), closed > 0


def _is_country_next(text: str, position: int) -> bool:
    joint = _JOINT.match(text, position)
    place = _PLACE.match(text, joint.end()) if joint else None
    return place is not None and place.group().lower() in word_set("countries")


def _follows_state(text: str, position: int) -> bool:
    """Whether nothing runs on after a two-letter state, as it does in `IN the end`."""
    return position == len(text) or text[position] in ".,;\n)?!"


def _without_stop(text: str, end: int) -> int:
    return end - 1 if text[end - 1 : end] in (".", "-") else end
