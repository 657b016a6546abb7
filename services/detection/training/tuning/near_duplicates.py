"""Rows of different groups that nearly repeat each other."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

from services.detection.training.rows import Row

SHARED = 0.4
COMMON = 80
_WORD = re.compile(r"\w+")


def near_duplicates(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Pairs of rows in different groups that share two fifths of the shorter one's runs
    of five words (of eight characters in short texts and scripts without spaces).

    What more than eighty rows share says nothing and is not counted.
    """
    return list(_pairs(tuple((row.text, row.group) for row in rows)))


@lru_cache(maxsize=1)
def _pairs(texts: tuple[tuple[str, str], ...]) -> tuple[tuple[int, int], ...]:
    runs = [_runs(text) for text, _ in texts]
    holders: dict[str, list[int]] = defaultdict(list)
    for place, found in enumerate(runs):
        for run in found:
            holders[run].append(place)
    shared: Counter[tuple[int, int]] = Counter()
    for places in holders.values():
        if 2 <= len(places) <= COMMON:
            shared.update(pair for pair in combinations(places, 2) if texts[pair[0]][1] != texts[pair[1]][1])
    return tuple(pair for pair, count in shared.items() if _close(count, runs[pair[0]], runs[pair[1]]))


def _close(count: int, one: set[str], other: set[str]) -> bool:
    shorter = min(len(one), len(other))
    return count >= SHARED * shorter and (count >= 2 or shorter <= 2)


def _runs(text: str) -> set[str]:
    words = _WORD.findall(text.lower())[:400]
    if len(words) >= 8:
        return {" ".join(words[place : place + 5]) for place in range(len(words) - 4)}
    letters = re.sub(r"\W+", "", text.lower())[:400]
    return {letters[place : place + 8] for place in range(max(1, len(letters) - 7))}
