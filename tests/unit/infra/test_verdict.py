"""What a chaos run's verdict says of money."""

from decimal import Decimal

import pytest

from tests.chaos.client import Stream
from tests.chaos.verdict import Spent, is_exact, verdict

SPENT = {"r1": Spent(3, 2, Decimal("0.000007"))}


def money(streams: list[Stream], spent: dict[str, Spent] | None, refusals: tuple[str, ...] = ()) -> object:
    """How many requests cost otherwise than their clients were told."""
    counts = {"gaps": 0, "doubles": 0, "per_minute": 0, "per_hour": 0}
    return verdict(streams, {}, counts, counts, refusals=refusals, spent=spent)["mispriced"]


def stream(**usage: int) -> Stream:
    """A stream whose client was told what it used, or nothing."""
    return Stream(1, 2, request_id="r1", usage=usage)


@pytest.mark.parametrize(
    ("streams", "spent"),
    [([stream(prompt_tokens=3, completion_tokens=2)], None), ([stream()], SPENT), ([], SPENT), ([], None)],
)
def test_verdict_without_anything_to_compare_calls_no_price_right(
    streams: list[Stream], spent: dict[str, Spent] | None
) -> None:
    """Nothing that is wrong is another thing than nothing that was looked at."""
    assert money(streams, spent) is None


def test_verdict_counts_every_cost_that_differs_or_is_missing() -> None:
    """Also where the store has none at all; a refusal costs nothing and is there."""
    told = [stream(prompt_tokens=3, completion_tokens=2)]
    assert money(told, SPENT) == 0
    assert money(told, {}) == 1
    assert money([stream(prompt_tokens=3, completion_tokens=3)], SPENT) == 1
    assert money(told, SPENT, refusals=("r2",)) == 1


def test_run_that_compared_no_price_is_not_exact() -> None:
    """It has shown nothing about money."""
    zero = ("broken_streams", "lost", "doubled", "gaps", "ledger_doubles")
    found = dict.fromkeys(zero, 0) | {"rollups_agree": True, "started": 1}
    assert is_exact(found | {"mispriced": 0})
    assert not is_exact(found | {"mispriced": None})
