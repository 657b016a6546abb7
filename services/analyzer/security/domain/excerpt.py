"""What of a text an investigator sees: masked, and cut to what matters."""

from bisect import bisect_right

from services.detection.masking import Masked, mask

_WHOLE, _BEFORE, _AFTER = 4000, 1000, 3000


def excerpt(text: str, around: int = 0) -> str:
    """The text without personal data and secrets; of a long one what is near the
    character `around`. Masked whole before it is cut: half a card number is none.
    """
    masked = mask(text)
    if len(masked.text) <= _WHOLE:
        return masked.text
    place = _place_in(masked, around)
    begin, end = max(0, place - _BEFORE), place + _AFTER
    return ("…" if begin else "") + masked.text[begin:end] + ("…" if end < len(masked.text) else "")


def _place_in(masked: Masked, original: int) -> int:
    """Where a character of the original text stands in the masked one."""
    shifts, shift = [], 0
    for one in masked.replacements:
        shift += len(one.value) - (one.end - one.start)
        shifts.append(one.end + shift)
    passed = bisect_right(shifts, original)
    if not passed:
        return original
    return min(len(masked.text), original - (shifts[passed - 1] - masked.replacements[passed - 1].end))
