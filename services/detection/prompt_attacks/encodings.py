"""Pieces of a text that were encoded, and what they say."""

import base64
import binascii
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from string import ascii_letters

_BASE64 = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{16,4000}={0,2}")
_CUT_BASE64 = re.compile(
    r"(?<![\w+/=-])[A-Za-z0-9+/_-]{4,200}(?:[\s,;|\"'>]{1,8}[A-Za-z0-9+/_-]{4,200}){1,400}"
    r"(?:[\s,;|\"'>]{1,8}[A-Za-z0-9+/_-]{1,3})?={0,2}"
)
_CUT = re.compile(r"[\s,;|\"'>]+")
_MIXED = re.compile(r"[a-z0-9+/][A-Z]")
_MIXED_TWICE = re.compile(r"[A-Z](?<=[a-z0-9+/].)[A-Za-z0-9+/]{0,8}[a-z0-9+/][A-Z]")
_PROSE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:\\x|0x|%)?[0-9A-Fa-f]{2}[\s:,]?){8,1500}(?![0-9A-Za-z])")
_ESCAPES = re.compile(
    r"(?:(?:\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|%[0-9A-Fa-f]{2}|&#x?[0-9A-Fa-f]{2,5};)[ \w]{0,12}){3,400}"
)
_DECIMAL = re.compile(
    r"(?<![\d.,])(?:(?:0{0,2}\d{2,3}|[1-3]\d{3})[\s,;:/|-]{1,3}){7,400}(?:0{0,2}\d{2,3}|[1-3]\d{3})(?![\d.])"
)
_OCTAL = re.compile(r"(?<![0-9])(?:\\?[01][0-7]{2}[\s,]{0,2}){8,400}(?![0-9])")
_BINARY = re.compile(r"(?<![0-9])(?:0[01]{7}[\s,]{0,2}){6,400}(?![0-9])")
_LONG_WORD = 16
_ASCII_NUMBERS = re.compile(r"[0-9A-Fa-fx\\%\t-\r\x1c-\x1f :,;/|-]{16,}")
_NUMBERS = re.compile(r"[\dA-Fa-fx\\%\s:,;/|-]{16,}")
"""Stretches without which there are no characters as numbers, of whatever base."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """`source[start:end]`, encoded as `kind` says, reads `text`."""

    kind: str
    start: int
    end: int
    text: str


def decoded_pieces(source: str) -> Iterator[Decoded]:
    """The encoded pieces of `source` that say something readable, kind by kind; also what
    was encoded twice.
    """
    for piece in _decoded(source):
        if _readable(piece.text):
            yield piece
        if piece.text.isascii() and _ENCODED.search(piece.text):
            for inner in _decoded(piece.text):
                if _readable(inner.text):
                    yield Decoded(inner.kind, piece.start, piece.end, inner.text)


def _decoded(source: str) -> Iterator[Decoded]:
    numbers = [one.span() for one in (_ASCII_NUMBERS if source.isascii() else _NUMBERS).finditer(source)]
    for decoder in _DECODERS:
        if decoder.numbers and not numbers:
            continue
        if not decoder.sign(source):
            continue
        for start, end in numbers if decoder.numbers else ((0, len(source)),):
            # One more, for what must not follow.
            for match in decoder.pattern.finditer(source, start, end + 1):
                if plain := decoder.decode(match[0]):
                    yield Decoded(decoder.kind, match.start(), match.end(), plain)


def _has_long_word(source: str) -> bool:
    return max(map(len, source.split()), default=0) >= _LONG_WORD


def _readable(text: str) -> bool:
    text = text.translate(_BREAKS)
    if len(text) < 6 or not text.isprintable():
        return False
    if text.isascii():
        return len(text) - len(text.encode().translate(None, _LETTERS_AND_SPACE)) >= 0.7 * len(text)
    letters = sum(character.isalpha() or character == " " for character in text)
    return letters >= 0.7 * len(text) and text.count("\ufffd") * 20 <= len(text)


_ENCODED = re.compile(
    r"[A-Za-z0-9+/_-]{16}|(?:[0-9A-Fa-f]{2}[\s,:]?){8}|\\[ux]|%[0-9A-Fa-f]{2}|&#|\d{2}[\s,]\d{2}"
)
"""What a text that was encoded once more has in it."""
_LETTERS_AND_SPACE = ascii_letters.encode() + b" "
_BREAKS = str.maketrans("\n\r\t", "   ")


def _decode_cut_base64(piece: str) -> str:
    """Base64 in several lines or bits, with or without the words of prose around it,
    which are seldom of large and small letters by turns.
    """
    bits = _CUT.split(piece)
    first, last = 0, len(bits)
    while first < last and _PROSE.fullmatch(bits[first]):
        first += 1
    while first < last and _PROSE.fullmatch(bits[last - 1]):
        last -= 1
    for joined in dict.fromkeys(("".join(bits[first:last]), "".join(bits))):
        if len(joined) >= 16 and len(_MIXED.findall(joined)) * 24 >= len(joined):
            plain = _decode_base64(joined)
            if _readable(plain) or _ENCODED.search(plain):
                return plain
    return ""


def _decode_base64(piece: str) -> str:
    body = piece.rstrip("=").replace("-", "+").replace("_", "/")
    if len(body) % 4 == 1:
        body = body[:-1]
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return _decode_bytes(raw)


def _decode_bytes(raw: bytes) -> str:
    if len(raw) > 3 and raw[1::2].count(0) * 3 > len(raw):
        return raw[: len(raw) // 2 * 2].decode("utf-16-le", errors="replace")
    return raw.decode("utf-8", errors="replace").strip()


def _decode_hex(piece: str) -> str:
    digits = re.sub(r"\\x|0x|[^0-9A-Fa-f]", "", piece)
    return _decode_bytes(bytes.fromhex(digits[: len(digits) // 2 * 2]))


def _decode_escapes(piece: str) -> str:
    plain = re.sub(
        r"\\u([0-9A-Fa-f]{4})|(?:\\x|%)([0-9A-Fa-f]{2})",
        lambda match: chr(int(match[1] or match[2], 16)),
        piece,
    )
    return html.unescape(plain).encode("utf-8", errors="replace").decode("utf-8").strip()


# Latin, Greek and Cyrillic; Hebrew and Arabic; Devanagari; Thai. Between them lie the
# numbers of recent years.
_WRITTEN = ((9, 126), (160, 1279), (1424, 1791), (2304, 2431), (3584, 3711))
_VOWELS = frozenset("aeiouy")


def _decode_numbers(digits: str, base: int) -> Callable[[str], str]:
    """A decoder of characters written as numbers; what does not look like words is
    taken for numbers that mean just that.
    """
    number = re.compile(digits)

    def decode(piece: str) -> str:
        codes = [int(found, base) for found in number.findall(piece)]
        if not all(any(first <= code <= last for first, last in _WRITTEN) for code in codes):
            return ""
        text = "".join(map(chr, codes))
        return text if _is_wording(text) else ""

    return decode


def _is_wording(text: str) -> bool:
    """Mostly small letters, or words of capitals or of other letters with spaces
    between them.
    """
    if text.isascii() and sum(sign.islower() or sign == " " for sign in text) >= 0.6 * len(text):
        return True
    letters = [sign for sign in text.lower() if sign.isalpha()]
    if text.count(" ") * 14 < len(text) or len(letters) + text.count(" ") < 0.85 * len(text):
        return False
    return not text.isascii() or sum(sign in _VOWELS for sign in letters) >= 0.25 * len(letters)


@dataclass(frozen=True, slots=True)
class _Decoder:
    """What an encoded piece looks like, how it is read, and a sign without which there is
    none; where it is `numbers`, it lies within a stretch of `_NUMBERS`.
    """

    kind: str
    pattern: re.Pattern[str]
    decode: Callable[[str], str]
    sign: Callable[[str], object]
    numbers: bool = True


_DECODERS = (
    _Decoder("base64", _CUT_BASE64, _decode_cut_base64, _MIXED_TWICE.search, numbers=False),
    _Decoder("base64", _BASE64, _decode_base64, _has_long_word, numbers=False),
    _Decoder("hex", _HEX, _decode_hex, re.compile(r"[0-9]").search),
    _Decoder("escapes", _ESCAPES, _decode_escapes, re.compile(r"[\\%&]").search, numbers=False),
    _Decoder("binary", _BINARY, _decode_numbers(r"[01]{8}", 2), re.compile(r"0[01]{7}").search),
    _Decoder(
        "octal",
        _OCTAL,
        _decode_numbers(r"[01][0-7]{2}", 8),
        re.compile(r"[01][0-7]{2}[\s\\,]?[01][0-7]{2}").search,
    ),
    _Decoder(
        "decimal",
        _DECIMAL,
        _decode_numbers(r"\d{2,4}", 10),
        re.compile(r"\d\d[\s,;:/|-]{1,3}\d\d").search,
    ),
)
