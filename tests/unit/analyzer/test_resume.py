"""Where a partition is taken up again."""

import pytest

from services.analyzer.recorder.resume import NOTHING, Plan, Resume, resume
from services.common.bus.coordinates import CommittedOffset


@pytest.mark.parametrize(
    ("stored", "committed", "expected"),
    [
        pytest.param(
            NOTHING, None, Resume(0, NOTHING), id="a fresh group and an empty store begin at the beginning"
        ),
        pytest.param(41, None, Resume(42, 41), id="without a commit the store says where"),
        pytest.param(41, CommittedOffset(42, Plan(41).note()), Resume(42, 41), id="nothing was under way"),
        pytest.param(
            41,
            CommittedOffset(50, Plan(41).note()),
            Resume(50, 41),
            id="what was dealt with without a row is not done again",
        ),
        pytest.param(
            41,
            CommittedOffset(42, Plan(41, 60, 58).note()),
            Resume(42, 41, 60),
            id="a block that did not get in is formed again",
        ),
        pytest.param(
            58,
            CommittedOffset(42, Plan(41, 60, 58).note()),
            Resume(42, 58, 60),
            id="a block that did get in is sent again, for the rollups",
        ),
        pytest.param(
            20,
            CommittedOffset(42, Plan(41, 60, 58).note()),
            Resume(21, 20),
            id="a restored store is behind the plan and filled again",
        ),
        pytest.param(
            20,
            CommittedOffset(50, Plan(41).note()),
            Resume(21, 20),
            id="a restored store is behind the commit and filled again",
        ),
        pytest.param(
            90,
            CommittedOffset(42, Plan(41, 60, 58).note()),
            Resume(91, 90),
            id="a store that is ahead of an old commit is believed",
        ),
        pytest.param(
            41,
            CommittedOffset(30, "by another program"),
            Resume(42, 41),
            id="a note that is no plan is ignored",
        ),
    ],
)
def test_resume_from_store_and_commit_goes_on_where_the_effect_ended(
    stored: int, committed: CommittedOffset | None, expected: Resume
) -> None:
    """The store decides; the commit adds the block under way and what needed no row."""
    assert resume(stored, committed) == expected


def test_plan_as_a_note_comes_back_as_it_was() -> None:
    """A commit's metadata carries it whole."""
    assert Plan.parse(Plan(4, 9, 8).note()) == Plan(4, 9, 8)
