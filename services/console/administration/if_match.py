"""If-Match: a change is made only of the version that its maker has seen."""

import re
from datetime import datetime

from services.common.control.changes import Change, Plan, etag
from services.common.control.errors import StaleError
from services.common.control.state import ControlState
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


def matching(kind: str, entry_id: str, tags: frozenset[str] | None, change: Change) -> Change:
    """A change of one of these versions only; of any where there is no header."""

    def decide(state: ControlState, now: datetime) -> Plan:
        known = state.get(kind, entry_id)
        if tags is not None and "*" not in tags and known is not None and etag(known) not in tags:
            raise StaleError(
                f"the {kind} {entry_id!r} was changed since you read it: its ETag is {etag(known)}; read it "
                "again"
            )
        return change(state, now)

    return decide
