"""The header If-Match: which versions its sender has seen."""

import re

from services.common.http.problems import malformed

_TAGS = re.compile(r'\s*(?:\*|(?:W/)?"[\x21\x23-\x7e]{0,100}"(?:\s*,\s*(?:W/)?"[\x21\x23-\x7e]{0,100}")*)\s*')
_MOST_CHARS = 2000


def read_if_match(header: str | None) -> frozenset[str] | None:
    """The ETags that a header names, `*` for any; None where there is no header.

    A weak one matches nothing (RFC 9110, section 13.1.1).

    Raises:
        ProblemError: 400, it is malformed.
    """
    if header is None:
        return None
    if len(header) > _MOST_CHARS or not _TAGS.fullmatch(header):
        raise malformed('If-Match: send ETags as they came, such as "3-1764200000000".', "If-Match")
    return frozenset(one.strip().strip('"') for one in header.split(","))
