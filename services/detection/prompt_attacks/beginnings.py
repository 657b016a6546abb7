"""How every match of a pattern begins, as far as that is a few literals: where none of
them stands, the pattern need not be tried.

Only what the rules are written in is understood: literals, groups, alternatives, sets
and their repetitions. Of anything else nothing is said.
"""

import re
from collections.abc import Iterable

_ENOUGH = 6
"""Characters of a beginning: more hardly tell more."""
_MANY = 600
_TOKEN = re.compile(
    r"(?P<look>\(\?<?[=!])|(?P<group>\(\?:|\((?!\?))|(?P<end>\))|(?P<or>\|)|(?P<place>\\[bBAZ]|[\^$])"
    r"|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\]|\\[wWsSdD0-9]|\.)|\\(?P<escaped>[^a-zA-Z0-9])|(?P<literal>[^\\(){}\[*+?])",
    re.DOTALL,
)
_REPEATED = re.compile(r"(?:([*+?])|\{(\d*)(,?)\d*\})[?+]?")

_Beginnings = frozenset[tuple[str, bool]]
"""Each with whether what follows in the pattern may be added to it."""
_NOTHING: _Beginnings = frozenset({("", True)})
_ANYTHING: _Beginnings = frozenset({("", False)})


def beginnings_of(pattern: str) -> frozenset[str]:
    """Literals with one of which every match of `pattern` begins; none where that cannot
    be said.
    """
    try:
        found, end = _alternatives(pattern, 0)
    except _UnknownError:
        return frozenset()
    literals = {text for text, _ in found}
    if end < len(pattern) or "" in literals or len(literals) > _MANY:
        return frozenset()
    return frozenset(
        one for one in literals if not any(one[:size] in literals for size in range(1, len(one)))
    )


class _UnknownError(Exception):
    """The pattern has what is not understood here."""


def _alternatives(pattern: str, place: int) -> tuple[_Beginnings, int]:
    """The beginnings of what stands between two brackets, and where that ends."""
    found: set[tuple[str, bool]] = set()
    so_far = _NOTHING
    while place < len(pattern):
        token = _TOKEN.match(pattern, place)
        if token is None:
            raise _UnknownError
        kind = token.lastgroup
        if kind == "end":
            break
        place = token.end()
        if kind == "or":
            found |= so_far
            so_far = _NOTHING
            continue
        one, place = _element(pattern, token, place)
        one, place = _repeated(pattern, one, place)
        so_far = _joined(so_far, one)
    return frozenset(found | so_far), place


def _element(pattern: str, token: "re.Match[str]", place: int) -> tuple[_Beginnings, int]:
    if token.lastgroup in ("look", "group"):
        within, place = _alternatives(pattern, place)
        if not pattern.startswith(")", place):
            raise _UnknownError
        return (_NOTHING if token.lastgroup == "look" else within), place + 1
    if token.lastgroup == "place":
        return _NOTHING, place
    if token.lastgroup == "set":
        return _ANYTHING, place
    return frozenset({(token["escaped"] or token["literal"], True)}), place


def _repeated(pattern: str, one: _Beginnings, place: int) -> tuple[_Beginnings, int]:
    times = _REPEATED.match(pattern, place)
    if times is None:
        return one, place
    sign, least, several = times[1], times[2], times[3]
    if sign != "?" and not (least == "1" and not several):
        one = frozenset((text, False) for text, _ in one)
    if sign in ("?", "*") or (sign is None and not int(least or 0)):
        one |= _NOTHING
    return one, times.end()


def _joined(before: Iterable[tuple[str, bool]], after: _Beginnings) -> _Beginnings:
    found = set()
    for text, is_open in before:
        if not is_open or len(text) >= _ENOUGH:
            found.add((text, False))
        else:
            found |= {(text + more, goes_on) for more, goes_on in after}
    if len(found) > _MANY:
        raise _UnknownError
    return frozenset(found)
