"""Which blocks a crash left remembered but not there."""

import fcntl
from pathlib import Path

import pytest

from services.embedded.clickhouse.engine.deduplication import forget_unfinished, missing, unfinished
from services.embedded.clickhouse.errors import StoreError


@pytest.mark.parametrize(
    ("lines", "parts", "expected"),
    [
        pytest.param(["1\tall_1_1_0\ta"], ["all_1_1_0"], [], id="it is there"),
        pytest.param(["1\tall_1_1_0\ta"], ["tmp_insert_all_1_1_0"], ["a"], id="it was not moved into place"),
        pytest.param(["1\tall_2_2_0\ta"], ["all_1_3_1"], [], id="it was merged"),
        pytest.param(
            ["1\tall_2_2_0\ta"], ["all_3_3_0", "all_1_9_2", "all_2_2_1_7"], [], id="and others lie in it"
        ),
        pytest.param(["1\tall_4_4_0\ta"], ["all_1_3_1", "all_5_5_0"], ["a"], id="between the others"),
        pytest.param(["1\tall_1_1_0\ta"], ["202611_1_1_0"], ["a"], id="another partition has that number"),
        pytest.param(["1\tall_1_1_0\ta", "2\tall_1_1_0\ta"], [], [], id="it was dropped"),
        pytest.param(
            ["1\tall_1_1_0\ta", "2\tall_1_1_0\ta", "1\tall_2_2_0\ta"], [], ["a"], id="and added again"
        ),
        pytest.param(["1\tall_2_2_0\ta", "1\tall_2_2_0\tb"], ["all_2_2_0"], [], id="its number came again"),
        pytest.param(["1\tsome-day\ta", "3\tall_1_1_0\tb", "1\tall_1_1_0"], [], [], id="unknown forms"),
        pytest.param([], [], [], id="nothing"),
    ],
)
def test_missing_is_what_no_part_holds(lines: list[str], parts: list[str], expected: list[str]) -> None:
    """A part is itself, or what it was merged into."""
    assert list(missing(lines, parts)) == expected


def _table(data: Path, log: str, *parts: str) -> Path:
    table = data / "store" / "abc" / "abcd"
    for part in parts:
        (table / part).mkdir(parents=True)
    (table / "deduplication_logs").mkdir(parents=True)
    file = table / "deduplication_logs" / "deduplication_log_1.txt"
    file.write_text(log)
    return file


def test_forgetting_appends_and_happens_once(tmp_path: Path) -> None:
    """The newest file of the log gets the lines, the second time there is nothing."""
    log = _table(tmp_path, "1\tall_1_1_0\ta\n1\tall_2_2_0\tb\n", "all_1_1_0")
    newest = log.with_name("deduplication_log_10.txt")
    newest.write_text("1\tall_3_3_0\tc\n")
    assert {one.block for one in unfinished(tmp_path)} == {"b", "c"}
    assert [one.block for one in forget_unfinished(tmp_path)] == ["b", "c"]
    assert newest.read_text() == "1\tall_3_3_0\tc\n2\tall_2_2_0\tb\n2\tall_3_3_0\tc\n"
    assert forget_unfinished(tmp_path) == []


@pytest.mark.parametrize("rest", ["1", "1\tall_2_2", "1\tall_2_2_0\tb"])
def test_half_a_line_at_the_end_is_cut_off(tmp_path: Path, rest: str) -> None:
    """Its block has no part: the line comes first."""
    log = _table(tmp_path, f"1\tall_1_1_0\ta\n{rest}", "all_1_1_0")
    assert unfinished(tmp_path) == set()
    assert forget_unfinished(tmp_path) == []
    assert log.read_text() == "1\tall_1_1_0\ta\n"


def test_directory_that_is_open_elsewhere_is_left_alone(tmp_path: Path) -> None:
    """The other process is in the middle of an insert, perhaps."""
    log = _table(tmp_path, "1\tall_1_1_0\ta\n")
    with (tmp_path / "status").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="open in another process"):
            forget_unfinished(tmp_path)
    assert log.read_text() == "1\tall_1_1_0\ta\n"
    assert len(forget_unfinished(tmp_path)) == 1
