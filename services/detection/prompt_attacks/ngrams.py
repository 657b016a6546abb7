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
_CHARACTER_SIZES = (3, 4, 5)
_WORD = re.compile(r"[^\W_]+|[^\w\s]{1,3}")
_SPACES = re.compile(r"\s+")
_DIGITS = re.compile(r"\d")
_PRIMES = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F],
    dtype=np.uint64,
)


def buckets(folded: str) -> NDArray[np.int64]:
    """The buckets of the n-grams in `folded` (a text as normalise folds it), each once.

    Shape (n,), values 0 … BUCKETS-1; digits are read as 0.
    """
    text = _DIGITS.sub("0", _SPACES.sub(" ", folded))
    words = [word.encode("utf-8", "replace") for word in _WORD.findall(text)]
    alone = [zlib.crc32(word) for word in words]
    # A checksum goes on from another's: of "first second", and of "first  third".
    pairs = [zlib.crc32(b" " + second, first) for first, second in zip(alone, words[1:], strict=False)]
    skipping = [zlib.crc32(b"  " + third, first) for first, third in zip(alone, words[2:], strict=False)]
    hashes = alone + pairs + skipping
    parts = [np.array(hashes, dtype=np.uint64) * _PRIMES[0]]
    octets = np.frombuffer(f" {text} ".encode("utf-8", "replace"), dtype=np.uint8).astype(np.uint64)
    for size in _CHARACTER_SIZES:
        count = len(octets) - size + 1
        if count > 0:
            rolled = np.full(count, size, dtype=np.uint64)
            for position in range(size):
                rolled = (rolled ^ octets[position : position + count]) * _PRIMES[position]
                rolled ^= rolled >> np.uint64(29)
            parts.append(rolled * _PRIMES[1])
    shifted = np.sort((np.concatenate(parts) >> np.uint64(64 - BUCKET_BITS)).astype(np.int64))
    # As np.unique, in a fifth of its time.
    once: NDArray[np.int64] = shifted[np.diff(shifted, prepend=-1) != 0]
    return once
