"""Personal data in text: one module per family, one function that asks them all."""

import re
from collections.abc import Iterator

from services.detection.finding import Finding, resolve_overlaps
from services.detection.passage import Passage
from services.detection.personal_data import address, bank, birth, names, network, numbers

__all__ = ["find_pii", "recognise_pii"]


_DIGIT = re.compile(r"[0-9]")


def find_pii(text: str, *, with_names: bool = False) -> tuple[Finding, ...]:
    """Personal data in a text, sorted by position and free of overlaps.

    Args:
        text: any string; binary rubbish costs little and never raises.
        with_names: also people's names in telling contexts (`my name is …`). Off by
            default: see docs/detection/prompt-attacks.md for what it finds and misses.
    """
    return resolve_overlaps(recognise_pii(Passage(text), with_names=with_names))


def recognise_pii(passage: Passage, *, with_names: bool = False) -> Iterator[Finding]:
    """Every recogniser's findings, overlaps included."""
    yield from network.recognise(passage)
    if _DIGIT.search(passage.text):
        yield from bank.recognise(passage)
        yield from numbers.recognise(passage)
        yield from birth.recognise(passage)
        yield from address.recognise(passage)
    if with_names:
        yield from names.recognise(passage)
