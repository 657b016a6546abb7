"""Numbers that identify: which runs of digits there are, and cards, social security and
company numbers among them.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from services.detection.finding import Finding
from services.detection.passage import Passage
from services.detection.personal_data import phone
from services.detection.personal_data.words import vocabulary

_GROUP_LIMIT = 12
# Patterns begin with a character and look behind it afterwards: one that begins with a
# look-behind is tried at every character. A run: groups of ASCII digits with at most
# three separators between them, seven digits and more. Bounded and possessive: linear
# on any input.
_RUN = re.compile(
    rf"[0-9](?<![0-9A-Za-z_][0-9])(?<![0-9A-Za-z_][.-][0-9])(?=(?:[ ./()-]{{0,3}}+[0-9]){{6}})"
    rf"[0-9]*+(?:[ ./()-]{{1,3}}+[0-9]++){{0,{_GROUP_LIMIT}}}+"
)
_OPENING = re.compile(r"(?<![0-9A-Za-z_])[+(]{1,2}\Z")
_SINGLE_DIGITS = re.compile(r"(?:[0-9][ ./()-]{1,3}+){9}")  # a row of figures
_GROUPS = re.compile(r"[0-9]++")
_WORD_FOLLOWS = re.compile(r"[A-Za-z_\u00c0-\u024f]|[-.][A-Za-z][0-9]|[%€$£]")
_DATE = re.compile(
    r"(?<![0-9])(?:(?:19|20)[0-9]{2}([-/.])(?:0?[1-9]|1[0-2])\1(?:3[01]|[12][0-9]|0?[1-9])"
    r"|(?:3[01]|[12][0-9]|0?[1-9])([-/.])(?:3[01]|[12][0-9]|0?[1-9])\2(?:19|20)[0-9]{2})(?![0-9])"
)

_UUID_TAIL = re.compile(r"-(?<=[0-9a-f]{8}-)[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-z])")

# Found from its digits: a pattern that begins with two letters would be tried at every
# letter.
_NINO_TAIL = re.compile(r"[0-9](?<![0-9][0-9])[0-9]([ -]?)[0-9]{2}\1[0-9]{2}[ -]?([A-Za-z])(?![A-Za-z0-9])")
_NINO_PREFIX = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})[ -]?\Z")
_NINO_ALLOTTED = re.compile(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][A-D]")
_NINO_UNUSED = frozenset({"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"})
_NIR_CORSICA = re.compile(
    r"[1-478](?<![A-Za-z0-9][1-478])[ .-]?[0-9]{2}[ .-]?[0-9]{2}[ .-]?2[ABab][ .-]?[0-9]{3}[ "
    r".-]?[0-9]{3}(?:[ ./-]{1,3}[0-9]{2}|[0-9]{2})?(?![A-Za-z0-9])"
)
_NIR_FORM = re.compile(
    r"[1-478][0-9]{2}(?:0[1-9]|1[0-2]|[2-3][0-9]|4[0-2]|[5-9][0-9])(?:0[1-9]|[1-8][0-9]|9[0-9])[0-9]{6}"
)
_SHORT_LINK = re.compile(r"[^.;\n]{0,16}")
# A canonical sample that nobody was given: told only where the text itself calls it a
# social security number.
_SSN_SAMPLES = frozenset({"078051120", "123456789", "219099999", "987654321", "111111111"})
_DROP = {ord(c): None for c in " .-/()"}


Group = tuple[int, int]  # where a group of digits stands: start, end


class DigitRun(NamedTuple):
    """Groups of digits that stand together; `start` includes a plus or parenthesis
    before the first.
    """

    start: int
    groups: tuple[Group, ...]


def digit_runs(text: str) -> Iterator[DigitRun]:
    """Runs of digit groups; a group that goes on as a word, and dates, are no part of a
    run.
    """
    for match in _RUN.finditer(text):
        start, end = match.span()
        if _SINGLE_DIGITS.match(text, start):
            continue
        groups = [group.span() for group in _GROUPS.finditer(text, start, end)]
        opening = (
            _OPENING.search(text, max(0, start - 3), start) if text[start - 1 : start] in ("+", "(") else None
        )
        start = opening.start() if opening else start
        if end < len(text) and _WORD_FOLLOWS.match(text, end) and not phone.EXTENSION.match(text, end):
            groups.pop()
        if len(groups) >= 3:
            yield from _without_dates(text, start, groups)
        elif groups:
            yield DigitRun(start, tuple(groups))


def _without_dates(text: str, start: int, groups: list[Group]) -> Iterator[DigitRun]:
    """The stretches of a run between the dates in it."""
    for date in _DATE.finditer(text, start, groups[-1][1]):
        before = tuple(g for g in groups if g[1] <= date.start())
        if before:
            yield DigitRun(start, before)
        groups = [g for g in groups if g[0] >= date.end()]
        start = groups[0][0] if groups else start
    if groups:
        yield DigitRun(start, tuple(groups))


def recognise(passage: Passage) -> Iterator[Finding]:
    """Cards, phones, US SSN, French NIR, SIREN and SIRET, UK national insurance
    numbers.
    """
    unique = [(match.start() - 8, match.end()) for match in _UUID_TAIL.finditer(passage.lower)]
    for run in digit_runs(passage.text):
        if len(run.groups) > 8 and {end - start for start, end in run.groups} == {4}:
            continue  # a table
        if unique and any(start <= run.groups[0][0] < end for start, end in unique):
            continue
        identified = _identifiers(passage, run)
        yield from identified
        yield from phone.recognise(passage, run.start, _left_over(run.groups, identified))
    yield from _national_insurance(passage)
    if "fr" in passage.lower:
        yield from _vat(passage.text)
    if "2a" in passage.lower or "2b" in passage.lower:
        yield from _corsican_nir(passage)


def _left_over(groups: tuple[Group, ...], identified: list[Finding]) -> tuple[Group, ...]:
    """The groups that no certain finding has claimed; phones are looked for among those
    alone.
    """
    sure = [f for f in identified if f.score >= 0.85]
    return tuple(g for g in groups if not any(f.start <= g[0] < f.end for f in sure)) if sure else groups


# Shapes (digits of each group) under which a number is written, beside the one without
# separators.
_CARD_SHAPES = (
    (4, 4, 4, 4),
    (4, 6, 5),
    (4, 6, 4),
    (4, 6, 6),
    (4, 4, 4, 4, 3),
    (4, 4, 4, 3),
    (4, 4, 4, 1),
    (6, 10),
    (4, 12),
    (6, 6, 4),
    (4, 4, 4, 2),
    (4, 4, 4),
)
_SHAPES: dict[tuple[int, ...], str] = {
    **dict.fromkeys(_CARD_SHAPES, "card"),
    **{(n,): "card" for n in (12, 16, 17, 18, 19)},
    (13,): "card nir",
    (14,): "card siret",
    (15,): "card nir",
    (3, 2, 4): "ssn",
    (9,): "ssn siren",
    (3, 3, 3): "siren",
    (3, 3, 3, 5): "siret",
    (9, 5): "siret",
    (1, 2, 2, 2, 3, 3, 2): "nir",
    (1, 2, 2, 2, 3, 3): "nir",
    (13, 2): "nir",
    (1, 12, 2): "nir",
    (1, 2, 2, 2, 6, 2): "nir",
    (5, 2, 3, 3, 2): "nir",
    (7, 3, 3, 2): "nir",
    (1, 4, 2, 3, 3, 2): "nir",
}


_Shapes = tuple[tuple[tuple[int, ...], tuple[str, ...]], ...]
_NONE: _Shapes = ()


def _shapes_of(beginnings: Iterable[tuple[int, ...]], length: int) -> dict[tuple[int, ...], _Shapes]:
    """The shapes by their first lengths, so that most runs are told apart by one
    look-up.
    """
    return {
        beginning: tuple(
            (shape, tuple(kinds.split()))
            for shape, kinds in _SHAPES.items()
            if shape[:length] == beginning and len(shape) >= length
        )
        for beginning in beginnings
    }


_SINGLE = {shape[0]: ((shape, tuple(kinds.split())),) for shape, kinds in _SHAPES.items() if len(shape) == 1}
_BY_BEGINNING = _shapes_of({shape[:2] for shape in _SHAPES if len(shape) > 1}, 2)


def _identifiers(passage: Passage, run: DigitRun) -> list[Finding]:
    """Each stretch of groups that has the shape of an identifier, and passes its check."""
    groups = run.groups
    lengths = tuple([end - start for start, end in groups])
    found = []
    for first, length in enumerate(lengths):
        if first and length > 5 and passage.text[groups[first - 1][1] : groups[first][0]] == ".":
            continue  # the decimals of a number
        shapes = _SINGLE.get(length, _NONE) + _BY_BEGINNING.get(lengths[first : first + 2], _NONE)
        for shape, kinds in shapes:
            last = first + len(shape)
            if lengths[first:last] == shape:
                start, end = groups[first][0], groups[last - 1][1]
                found += [finding for kind in kinds if (finding := _CHECKS[kind](passage, start, end))]
    return found


def luhn(digits: str) -> bool:
    """Whether the digits pass the Luhn check (ISO/IEC 7812-1, annex B)."""
    return sum(map(int, digits[-1::-2] + digits[-2::-2].translate(_DOUBLED))) % 10 == 0


_DOUBLED = str.maketrans("0123456789", "0246813579")  # the digit sum of the double
_ISSUERS = re.compile(
    r"(?P<visa>4(?:[0-9]{12}|[0-9]{15}|[0-9]{18}))"
    r"|(?P<mastercard>(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12})"
    r"|(?P<amex>3[47][0-9]{13})"
    r"|(?P<discover>(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12})"
    r"|(?P<diners>(?:30[0-59]|3[689][0-9])[0-9]{11}|(?:30[0-59]|3[689][0-9])[0-9]{13})"
    r"|(?P<jcb>(?:352[89]|35[3-8][0-9])[0-9]{12}|(?:2131|1800)[0-9]{11})"
    r"|(?P<other>35[0-9]{14}|(?:60|81|82|508|9792)[0-9]{12,14})"
    r"|(?P<unionpay>62[0-9]{14,17})"
    r"|(?P<mir>220[0-4][0-9]{12,15})"
    r"|(?P<maestro>(?:5[0678][0-9]{2}|6[0-9]{3})[0-9]{8,15})"
)
_CARD_AFTER = re.compile(
    r",? (?:was|has been|is|got|a été|est|wurde|ist|fue|è stata) "
    r"(?:declined|refused|rejected|expired|stolen|lost|blocked|charged"
    r"|refusée?|volée?|perdue?|expirée?|bloquée?|gesperrt|"
    r"abgelehnt|gestohlen|rechazada|robada|rifiutata)|[,;]? "
    r"(?:exp|expir|cvv|cvc|cvv2|crypto|valid|ablauf|cad)",
    re.IGNORECASE,
)
_NEEDS_CONTEXT = frozenset(
    {"maestro", "other"}
)  # ranges so wide that a tenth of all numbers beginning with 5 or 6 would pass


def _card(passage: Passage, start: int, end: int) -> Finding | None:
    """A payment card: issuer range, length and Luhn; a bare number that the text calls
    something else is none.
    """
    value = passage.text[start:end]
    digits = value.translate(_DROP)
    issuer = _ISSUERS.fullmatch(digits)
    if issuer is None or len(set(digits)) < 2 or not luhn(digits) or not _same_separators(value):
        return None
    named = passage.last_before(vocabulary("card"), start, 60)
    if named < 0 and _CARD_AFTER.match(passage.text, end):
        named = start
    other = passage.last_before(vocabulary("other_number"), start, 60)
    grouped = len(digits) != len(value)
    scheme = issuer.lastgroup or ""
    if named < 0 and (scheme in _NEEDS_CONTEXT or len(digits) in (13, 14) or (other >= 0 and not grouped)):
        return None
    if other > named and start - other < 12:
        return None
    return Finding(start, end, "CREDIT_CARD", 0.97 if named >= 0 else 0.92, f"Luhn, {scheme} range")


def _same_separators(value: str) -> bool:
    """Whether the groups of a number are parted by one separator throughout."""
    return len({c for c in value if not c.isdigit()}) <= 1 and "  " not in value and "--" not in value


def _ssn(passage: Passage, start: int, end: int) -> Finding | None:
    """A US social security number: no area 000, 666 or 9xx, no group 00, no serial
    0000.
    """
    value = passage.text[start:end]
    digits = value.translate(_DROP)
    if (
        digits[0] == "9"
        or digits[:3] in ("000", "666")
        or digits[3:5] == "00"
        or digits[5:] == "0000"
        or not _same_separators(value)
    ):
        return None
    named = passage.last_before(vocabulary("ssn"), start, 48)
    other = passage.last_before(vocabulary("other_number"), start, 24)
    if named >= 0 and (named >= other or _SHORT_LINK.fullmatch(passage.text, named, start)):
        return Finding(start, end, "US_SSN", 0.96, "area, group, serial; named")
    if (
        value.count("-") == 2
        and digits not in _SSN_SAMPLES
        and (other < 0 or start - other > 12)
        and not phone.is_named(passage, start)
    ):
        return Finding(start, end, "US_SSN", 0.85, "area-group-serial")
    return None


def _siren(passage: Passage, start: int, end: int) -> Finding | None:
    """A French company number: Luhn, and a text that speaks of companies."""
    digits = passage.text[start:end].translate(_DROP)
    if passage.last_before(vocabulary("company"), start, 48) < 0 or digits == "000000000" or not luhn(digits):
        return None
    return Finding(start, end, "FR_SIREN", 0.95, "Luhn, named")


_VAT = re.compile(r"[Ff](?<![A-Za-z0-9][Ff])[Rr] ?([0-9]{2}) ?([0-9]{3} ?[0-9]{3} ?[0-9]{3})(?![A-Za-z0-9])")


def _vat(text: str) -> Iterator[Finding]:
    """The SIREN inside a French VAT number: FR, a key of two digits, (12 + 3 · (SIREN
    mod 97)) mod 97, SIREN.
    """
    for match in _VAT.finditer(text):
        if int(match.group(1)) == (12 + 3 * (int(match.group(2).replace(" ", "")) % 97)) % 97:
            yield Finding(match.start(2), match.end(2), "FR_SIREN", 0.97, "VAT key")


def _siret(passage: Passage, start: int, end: int) -> Finding | None:
    """A French establishment number: Luhn, or for La Poste (356 000 000) a digit sum
    divisible by five.
    """
    value = passage.text[start:end]
    digits = value.translate(_DROP)
    la_poste = digits.startswith("356000000") and sum(map(int, digits)) % 5 == 0
    if (not luhn(digits) and not la_poste) or len(set(digits)) < 3:
        return None
    if passage.last_before(vocabulary("company"), start, 48) < 0 and (
        len(value) == len(digits) or passage.last_before(vocabulary("other_number"), start, 32) >= 0
    ):
        return None
    return Finding(
        start, end, "FR_SIRET", 0.98, "La Poste's digit sum" if la_poste and not luhn(digits) else "Luhn"
    )


def _nir(passage: Passage, start: int, end: int) -> Finding | None:
    """A French social security number: form, and the key 97 - (number mod 97); without
    its key only where named.
    """
    digits = passage.text[start:end].translate(_DROP)
    if not _NIR_FORM.match(digits):
        return None
    named = passage.last_before(vocabulary("nir"), start, 48) >= 0
    if len(digits) == 15:
        is_keyed = nir_key(digits[:13]) == int(digits[13:]) and (named or digits[0] in "12")
        return Finding(start, end, "FR_NIR", 0.98 if named else 0.93, "key modulo 97") if is_keyed else None
    return Finding(start, end, "FR_NIR", 0.9, "form, named") if named else None


def nir_key(number: str) -> int:
    """Control key of 13 characters of a NIR, Corsica's 2A and 2B counted as 19 and 18
    (INSEE).
    """
    return 97 - int(number.upper().replace("2A", "19").replace("2B", "18")) % 97


def _corsican_nir(passage: Passage) -> Iterator[Finding]:
    for match in _NIR_CORSICA.finditer(passage.text):
        compact = match.group().translate(_DROP).upper()
        keyed = len(compact) == 15 and nir_key(compact[:13]) == int(compact[13:])
        if keyed or (len(compact) == 13 and passage.last_before(vocabulary("nir"), match.start(), 48) >= 0):
            yield Finding(
                match.start(),
                match.end(),
                "FR_NIR",
                0.98 if keyed else 0.9,
                "key modulo 97" if keyed else "form, named",
            )


def _national_insurance(passage: Passage) -> Iterator[Finding]:
    """UK national insurance numbers: allotted prefixes and suffix in capitals; any
    letters, such as those of samples, where named.
    """
    for tail in _NINO_TAIL.finditer(passage.text):
        letters = _NINO_PREFIX.search(passage.text, max(0, tail.start() - 4), tail.start())
        if letters is None:
            continue
        start, prefix, suffix = letters.start(), letters.group(1), tail.group(2)
        if passage.last_before(vocabulary("nino"), start, 40) >= 0:
            yield Finding(start, tail.end(), "UK_NINO", 0.97, "form, named")
        elif _NINO_ALLOTTED.fullmatch(prefix + suffix) and prefix not in _NINO_UNUSED:
            yield Finding(start, tail.end(), "UK_NINO", 0.9, "prefix and suffix")


_CHECKS = {"card": _card, "ssn": _ssn, "siren": _siren, "siret": _siret, "nir": _nir}
