"""Hashed n-grams of a text: which words, word pairs and character sequences occur in
it, as bucket numbers.

The linear model needs no vocabulary: a feature's hash is its place in the table of
weights. Training and serving call the same function.
"""

import re
import zlib

import numpy as np
from numpy.typing import NDArray

BUCKET_BITS = 19
BUCKETS = 1 << BUCKET_BITS
_SIZES = np.array([[3], [4], [5]], dtype=np.uint64)
_SHORTEST, _LONGEST = 3, 5
_WORD = re.compile(r"[^\W_]+|[^\w\s]{1,3}")
_DIGITS = re.compile(r"\d")
_ASCII_DIGITS = str.maketrans("123456789", "000000000")
_PRIMES = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F],
    dtype=np.uint64,
)
_MIXED, _KEPT = np.uint64(29), np.uint64(64 - BUCKET_BITS)


def buckets(folded: str) -> NDArray[np.int64]:
    """The buckets of the n-grams in `folded` (a text as normalise folds it), each once.

    Shape (n,), values 0 … BUCKETS-1; digits are read as 0.
    """
    text = _single_spaced(folded)
    text = text.translate(_ASCII_DIGITS) if text.isascii() else _DIGITS.sub("0", text)
    words = [word.encode("utf-8", "replace") for word in _WORD.findall(text)]
    alone = [zlib.crc32(word) for word in words]
    # A checksum goes on from another's: of "first second", and of "first  third".
    pairs = [zlib.crc32(b" " + second, first) for first, second in zip(alone, words[1:], strict=False)]
    skipping = [zlib.crc32(b"  " + third, first) for first, third in zip(alone, words[2:], strict=False)]
    of_words = np.array(alone + pairs + skipping, dtype=np.uint64) * _PRIMES[0]
    hashes = np.concatenate((of_words, *_of_characters(f" {text} ".encode("utf-8", "replace"))))
    found = (hashes >> _KEPT).astype(np.int32)
    found.sort()
    # As np.unique, in a fraction of its time.
    is_first = np.empty(len(found), dtype=bool)
    is_first[:1] = True
    np.not_equal(found[1:], found[:-1], out=is_first[1:])
    return found[is_first].astype(np.int64)


def _single_spaced(text: str) -> str:
    """With one space for any white space."""
    words = " ".join(text.split())
    if not words:
        return " " if text else ""
    return f"{' ' if text[0].isspace() else ''}{words}{' ' if text[-1].isspace() else ''}"


def _of_characters(octets: bytes) -> list[NDArray[np.uint64]]:
    """Hashes of three, four and five octets that follow each other, a row each, which
    take in one octet after the other together.
    """
    count = len(octets) - _SHORTEST + 1
    if count <= 0:
        return []
    padded = np.frombuffer(octets + bytes(_LONGEST), dtype=np.uint8).astype(np.uint64)
    rows = np.empty((len(_SIZES), count), dtype=np.uint64)
    rows[:] = _SIZES
    for position in range(_LONGEST):
        longer = rows[max(0, position - _SHORTEST + 1) :]
        longer ^= padded[position : position + count]
        longer *= _PRIMES[position]
        longer ^= longer >> _MIXED
    rows *= _PRIMES[1]
    return [row[: max(0, count - number)] for number, row in enumerate(rows)]
