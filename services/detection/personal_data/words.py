"""The word lists of `words.yaml`, read once, on first use."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from services.detection.passage import Vocabulary

_FILE = Path(__file__).with_name("words.yaml")


@lru_cache(maxsize=1)
def _lists() -> dict[str, Any]:
    lists: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return lists


@lru_cache(maxsize=64)
def vocabulary(*names: str) -> Vocabulary:
    """One list of words, or several as one."""
    return Vocabulary(tuple(word for name in names for word in _lists()[name]))


@lru_cache(maxsize=64)
def word_set(name: str) -> frozenset[str]:
    """A list whose words are compared whole."""
    return frozenset(_lists()[name])


@lru_cache(maxsize=1)
def months() -> dict[str, int]:
    """Number of the month by its name, in six languages."""
    return {name: number for number, names in enumerate(_lists()["months"], start=1) for name in names}
