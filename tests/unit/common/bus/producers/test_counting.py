"""Counting without transactions: what an incarnation does once its driver has failed."""

import pytest

from schemas.control import KeyChanged
from services.common.bus import Outgoing
from services.common.bus.producers.counting import _Incarnation
from services.common.errors import BusUnavailableError
from tests.unit.common.control.entries import signed_key


def record() -> Outgoing:
    """A record for one partition."""
    _, key = signed_key()
    assert isinstance(key, KeyChanged)
    return Outgoing("topic", key, subject="s", tenant="t", partition=3)


async def test_incarnation_that_has_failed_takes_nothing_more_and_uses_no_number() -> None:
    """A new driver under the same name would count on behind a number that was never
    written: the ledger would show a gap.
    """
    incarnation = _Incarnation("127.0.0.1:1", "p")
    incarnation.failed = True
    for _ in range(2):
        with pytest.raises(BusUnavailableError, match="replaced"):
            await incarnation.send_soon(record())
    assert [lane.next for lane in incarnation._lanes.values()] == [0]
