"""People's names in contexts that announce one.

Optional: names elsewhere need a language model's eye, and are missed.
"""

import re
from collections.abc import Iterator

from services.detection.finding import Finding
from services.detection.passage import Passage

_PART = r"[A-ZÀ-ÖØ-ÞŠŽČĆĐŁŚŻ][\w'’]*(?:-[A-ZÀ-Þ][\w'’]+)*\.?"
_NAME = rf"{_PART}(?: (?:(?:de la|de|du|des|van der|van|von|le|la|di|da|el|bin|al) )?{_PART}){{0,3}}"
_FULL_NAME = rf"{_PART}(?: (?:(?:de la|de|du|des|van der|van|von|le|la|di|da|el|bin|al) )?{_PART}){{1,3}}"
_ANNOUNCED = re.compile(
    r"(?:(?:(?:[Mm]y|[Hh]er|[Hh]is) name is|[Ii]'m called|[Nn]ame:|[Nn]om ?:|[Jj]e m['’]appelle|[Jj]e "
    r"suis|[Ss]igned,?"
    rf"|[Ss]igné ?:?|[Mm]e llamo|[Mm]i chiamo|[Ii]ch hei(?:ß|ss)e"
    rf"|[Cc]lient(?:e)? ?:|[Pp]atient(?:e)? ?:|[Cc]ontacter|[Ll]ettre à|[Mm]ail de"
    rf"|[Mm]onsieur|[Mm]adame|[Mm]me|[Mm]lle|Mr\.?|Mrs\.?|Ms\.?|Dr\.?|Herr|Frau|Señora?|Dear|Cher|Chère)\s{{1,2}})(?P<name>{_NAME})"
)
_ACTING = re.compile(rf"(?<![\w.])(?P<name>{_FULL_NAME}) (?:lives at|habite|wohnt in|vive en|abita)")


def recognise(passage: Passage) -> Iterator[Finding]:
    """Names after a title, a greeting, `my name is …`, `je m'appelle …` and their like."""
    for pattern in (_ANNOUNCED, _ACTING):
        for match in pattern.finditer(passage.text):
            end = match.end("name") - (
                match.group("name").endswith(".") and len(match.group("name").split()[-1]) > 2
            )
            yield Finding(match.start("name"), end, "PERSON", 0.6, "announced by context")
