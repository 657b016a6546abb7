"""How like two texts are, from sketches that do not hold them.

MinHash (Broder: On the resemblance and containment of documents, 1997) of the texts'
character shingles, of each minimum one byte (Li, König: b-Bit Minwise Hashing, 2010).
The share of bytes that agree, less what agrees by chance, estimates the Jaccard
similarity of the sets of shingles: unbiased, with a standard deviation of at most .063.

A sketch is bounded (64 bytes), and equal for equal texts up to case and white space.
It tells whoever has it whether a text that he knows is like the sketched one, and no
more.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SKETCH_BYTES = 64
_SHINGLE = 5
_CHARS = 20_000
"""Of a longer text, its beginning and its end."""
_CHANCE = 1 / 256

_random = np.random.Generator(np.random.PCG64(20260522))
_FACTORS = _random.integers(0, 2**63, SKETCH_BYTES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SHIFTS = _random.integers(0, 2**63, SKETCH_BYTES, dtype=np.uint64)


def sketch(text: str) -> str:
    """A text's sketch in hexadecimal; empty for a text without a character to see."""
    folded = " ".join(text.casefold().split())
    if not folded:
        return ""
    if len(folded) > _CHARS:
        folded = folded[: _CHARS // 2] + folded[-_CHARS // 2 :]
    hashes = _shingles(folded)
    lowest = np.full(SKETCH_BYTES, 2**64 - 1, dtype=np.uint64)
    for start in range(0, len(hashes), 512):
        part = hashes[start : start + 512]
        lowest = np.minimum(lowest, (part[:, None] * _FACTORS + _SHIFTS).min(axis=0))
    return _mixed(lowest).astype(np.uint8).tobytes().hex()


def similarities(one: str, others: Sequence[str]) -> list[float]:
    """The estimated similarity of a sketch with each of the others, 0 to 1; 0 where
    either is empty or of another length.
    """
    size = 2 * SKETCH_BYTES
    usable = [number for number, other in enumerate(others) if len(other) == len(one) == size]
    found = [0.0] * len(others)
    if usable:
        mine = np.frombuffer(bytes.fromhex(one), dtype=np.uint8)
        theirs = np.frombuffer(bytes.fromhex("".join([others[number] for number in usable])), dtype=np.uint8)
        agree = (theirs.reshape(-1, SKETCH_BYTES) == mine).mean(axis=1)
        for number, share in zip(usable, agree, strict=True):
            found[number] = float(max(0.0, (share - _CHANCE) / (1 - _CHANCE)))
    return found


def _shingles(text: str) -> npt.NDArray[np.uint64]:
    """Hashes of all runs of five characters, each once; of a shorter text one."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    size = min(_SHINGLE, len(codes))
    hashes = np.zeros(len(codes) - size + 1, dtype=np.uint64)
    for place in range(size):
        hashes = hashes * np.uint64(0x100000001B3) + codes[place : place + len(hashes)]
    return np.unique(_mixed(hashes))


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): near values become far ones."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
