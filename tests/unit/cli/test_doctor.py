"""How the doctor speaks."""

import pytest

from services.cli.doctor import Finding, exit_code, remedy_of, report
from services.common.errors import BusUnavailableError, StoreUnavailableError, TocsinError
from services.common.store import StoreMisconfiguredError

_WELL = Finding("topics", ok=True, detail="all 9 are there")
_ILL = Finding("ledger", ok=False, detail="2 events are missing", remedy="run it again")


def test_report_of_a_failed_check_says_what_to_do_below_it() -> None:
    """One line a check, and the remedy under what failed."""
    assert report([_WELL, _ILL]).splitlines() == [
        "ok    topics  all 9 are there",
        "FAIL  ledger  2 events are missing",
        "              -> run it again",
    ]


def test_exit_code_with_one_failed_check_is_one() -> None:
    """So that scripts may ask."""
    assert exit_code([_WELL]) == 0
    assert exit_code([_WELL, _ILL]) == 1


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (StoreMisconfiguredError("no table"), "tocsin migrate"),
        (StoreUnavailableError("no answer within 10 s"), "ask again"),
        (BusUnavailableError("no broker"), "TOCSIN_KAFKA_URL"),
    ],
)
def test_remedy_is_for_what_failed_whatever_was_checked(error: TocsinError, remedy: str) -> None:
    """A store that is slow is not one without tables."""
    assert remedy in remedy_of(error)
