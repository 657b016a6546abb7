"""People's names in contexts that announce one.

Optional: names elsewhere need a language model's eye, and are missed.
"""

import re
from collections.abc import Iterator

from services.detection.finding import Finding
from services.detection.passage import Passage

_PART = r"(?:[A-ZÀ-Þ]\.|(?:Mrs?|Ms|Dr|St|Jr|Sr)\.|[A-ZÀ-ÖØ-ÞŠŽČĆĐŁŚŻ][\w'’]*(?:-[A-ZÀ-Þ][\w'’]+)*)"
_JOINT = r" (?:(?:de la|de|du|des|van der|van|von|le|la|di|da|el|bin|al) )?"
_NAME = rf"{_PART}(?:{_JOINT}{_PART}){{0,3}}"
_FULL_NAME = rf"{_PART}(?:{_JOINT}{_PART}){{1,3}}"
_ANNOUNCED = re.compile(
    r"(?<!\w)(?:[Mm]y name(?: is|['’]s)|[Hh](?:er|is) name is|(?:last|first|maiden|full|sur) ?name (?:is|was)"
    r"|[Ii]['’]m called|name\?|Signed,?|signed,|[Dd]irected [Bb]y:?"
    r"|[Ww]ritten by|[Dd]ear|[Jj]e m['’]appelle|[Mm]on nom est|[Ss]igné ?:?|[Cc]ontacter"
    r"|[Ll]ettre à|[Mm]ail de|Cher|Chère"
    r"|[Mm]e llamo|[Mm]i nombre es|[Mm]i chiamo|[Ii]l mio nome è"
    r"|[Ii]ch hei(?:ß|ss)e|[Mm]ein Name ist"
    r"|[Mm]onsieur|[Mm]adame|[Mm]me"
    r"|[Mm]lle|Mr\.?|Mrs\.?|Ms\.?|Dr\.?|Prof\.|Herrn?|Frau|Señora?|Sra?\.|Doña|Sig\.(?:ra)?|Dott\.(?:ssa)?"
    rf"|[\"”»] (?:says|said|sagt|dit|dice))\s{{1,8}}(?P<name>{_NAME})(?!\w)"
)
_LABELLED = re.compile(
    r"(?<!\w)(?:[Nn]ame|[Nn]om|[Nn]om complet|[Nn]ombre|[Nn]ome|[Cc]liente?|[Pp]atiente?"
    r"|[Kk]unde|[Kk]undin) ?:[ \t]{1,8}"
    rf"(?P<name>{_FULL_NAME})(?=\s*(?:\Z|[\n,;|(]))"
)
_ACTING = re.compile(
    rf"(?<![\w.])(?P<name>{_FULL_NAME}) "
    r"(?:lives (?:at|in|on)|habite|wohnt in|vive en|abita|was born|est née?|as a beneficiary)"
)


def recognise(passage: Passage) -> Iterator[Finding]:
    """Names after a title, a greeting, `my name is …`, `je m'appelle …` and their like."""
    for pattern in (_ANNOUNCED, _LABELLED, _ACTING):
        for match in pattern.finditer(passage.text):
            start, end = match.span("name")
            end -= 2 * match.group("name").endswith(("'s", "’s"))
            yield Finding(start, end, "PERSON", 0.6, "announced by context")
