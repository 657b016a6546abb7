"""How the doctor speaks."""

from services.cli.doctor import Finding, exit_code, report

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
