"""Postal addresses as rules find them: French, British and American, German, Spanish,
Italian, Dutch and Portuguese ways of writing.

A core (`streets.py`) is followed by a tail of places and codes. A core that says
`street` stands alone; a mere number and capitalised words count only with a tail that
ends in a post code or a country. What has neither (a lone village, a street without
number) is missed.
"""

import re
from collections.abc import Iterator

from services.detection.finding import Finding
from services.detection.passage import Passage
from services.detection.personal_data.streets import cores, find_closings
from services.detection.personal_data.words import word_set

_PARTS = 6
_HOUSE_AFTER = re.compile(r" [0-9]{1,4}[A-Za-z]?(?=,|\n| (?:Apt|Suite))")
_UNIT = re.compile(
    r"[ "
    r",\n?>]{1,8}(?:(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Rm|Floor|Building|Bldg|Appt|Appartement|Bât|Bâtiment|Esc|Escalier|Étage|Lot|No"
    r"|Puerta|Piso|Piano|Appartamento|Interno|Scala|Bloque|Wohnung|Whg|Etage|bus|bte)"
    r"\.? ?#?[A-Z]?[0-9]{1,5}[A-Z]?(?!\w)"
    r"|[0-9]{1,2}(?:\.? ?[ºª°]|[èrnt](?= [0-9]))"
    r"(?: ?(?:izq|izda|dcha|drcha|ctro|centro|int|ext)[a-z]*\.?| ?[A-Z0-9][aªº]?(?![\w.]))?"
    r"|(?:bajo|ático|entlo|entresuelo|pral|principal)\.?"
    r"(?: (?:izq|izda|dcha|drcha|[A-Z](?!\w))[a-z]*\.?)?(?!\w)"
    r"|(?:portal|local|planta|pta|escalera|porte|int|sc|bâtiment|bât)\.? ?[A-Z0-9]{1,3}(?!\w)"
    r"|[0-9]{1,2}(?:\. ?(?:OG|Stock|Etage|Obergeschoss)|(?:e|er|ème) étage)(?!\w)"
    r"|(?:Apt|Suite|Ste|Unit|Flat|Bât|Bâtiment|Building)\.? [A-Z](?!\w)|# ?[0-9]{1,5}(?!\w))",
    re.IGNORECASE,
)
_JOINT = re.compile(r"[ ]{0,3},?[ ]{0,2}(?:\n[ \t?>]{0,6}(?:,[ ]?)?)?(?:\n[ \t]{0,4})?")
_NAME = r"[A-ZÀ-ÖØ-ÞŁŚŠŽŻČĆŘĎŇŤĐΆ-ΏΑ-ΩА-Я](?:[^\W\d_]|['’.-])*+(?![\d_])"
_PLACE = re.compile(
    rf"{_NAME}(?:(?:[ ]| - )(?:(?:sur|de|del|della|di|da|do|la|le|of|upon|am|im|der|den|an der|in der|bei"
    rf"|nad|pod|u|pri|na|ob|aan den|aan de|op|i|og|na|sul|sulla|en|sous|lès|les) )?{_NAME}){{0,3}}"
    rf"(?: \({_NAME}(?: {_NAME})?\))?"
)
_CODE = re.compile(
    r"(?:[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2}|[A-Z][0-9][A-Z] "
    r"?[0-9][A-Z][0-9]|(?:[A-Z]{1,3}-)?[0-9]{5}(?:-[0-9]{3,4})?|[A-Z]{1,2}-[0-9]{4}"
    r"|[0-9]{4} ?[A-Z]{2}|[0-9]{3} [0-9]{2}|[0-9]{2}-[0-9]{3}|(?!19|20)[0-9]{4}|[0-9]{5,6})(?!\w|-\w)"
)


_FIRST_LETTER = re.compile(r"(?<![\w'’])[a-zà-öø-þ]")
_BEFORE_TOWN = re.compile(r",? |,?\n")


def recognise(passage: Passage) -> Iterator[Finding]:
    """Postal addresses of a passage, each once.

    In a text without capitals only those that a code or a country closes.
    """
    is_lower = passage.text == passage.lower
    closings = find_closings(passage)
    if is_lower and not closings:
        return
    if is_lower:
        passage = Passage(_FIRST_LETTER.sub(lambda letter: letter.group().upper(), passage.text))
    done = -1
    for core in cores(passage, closings, has_capitals=not is_lower):
        if core.start < done:
            continue
        end, is_closed = _tail(passage.text, core.end)
        is_whole = is_closed or core.is_closed
        if (core.is_sure and is_whole) if is_lower else (core.is_sure or is_whole):
            done = end
            yield Finding(
                core.start,
                end,
                "ADDRESS",
                0.85 if is_whole else 0.75,
                core.evidence + (", code or country" if is_closed else ""),
            )


def _tail(text: str, core_end: int) -> tuple[int, bool]:
    """Where the places and codes after a core end, and whether they close it with a
    code or a country.
    """
    if text[core_end : core_end + 1] not in (" ", ",", "\n"):
        return core_end, False
    end = _end_of_units(text, core_end)
    position, closed, first_town = end, 0, 0
    for count in range(_PARTS):
        joint = _JOINT.match(text, position)
        at = joint.end() if joint else position
        code = _CODE.match(text, at) if at > position else None
        if code:
            return _after_code(text, code.end(), is_first=count == 0), True
        place = _PLACE.match(text, at) if at > position else None
        if place is None:
            break
        if count == 0 and "," in text[position:at]:
            first_town = place.end()
        if _closes(text, place):
            closed = place.end()
        position = _end_of_units(text, place.end())
    return _without_stop(text, max(end, closed, first_town)), closed > 0


def _end_of_units(text: str, end: int) -> int:
    """Past a house number and flats, floors or suites."""
    house = _HOUSE_AFTER.match(text, end)
    end = house.end() if house else end
    for _ in range(3):
        unit = _UNIT.match(text, end)
        end = unit.end() if unit else end
    return end


def _after_code(text: str, end: int, *, is_first: bool) -> int:
    """Past what may follow a post code: the town when the code came first, then a
    country.
    """
    between = _BEFORE_TOWN.match(text, end) if is_first else None
    town = _PLACE.match(text, between.end()) if between else None
    end = town.end() if town else end
    joint = _JOINT.match(text, end)
    country = _PLACE.match(text, joint.end()) if joint and joint.end() > end else None
    return _without_stop(text, country.end() if country and _is_country(country.group()) else end)


def _closes(text: str, place: re.Match[str]) -> bool:
    """Whether a place is a country, or a two-letter state after which nothing runs on
    (as it does in `IN the end`).
    """
    end = place.end()
    is_state = place.group() in word_set("states") and (end == len(text) or text[end] in ".,;\n)?!")
    return is_state or _is_country(place.group())


def _is_country(place: str) -> bool:
    return place.rstrip(".").lower() in word_set("countries")


def _without_stop(text: str, end: int) -> int:
    return end - 1 if text[end - 1] in ".-" else end
