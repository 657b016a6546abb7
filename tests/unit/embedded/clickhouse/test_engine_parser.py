"""What the engine's parser is asked, and how often."""

from pathlib import Path

import pytest

from services.embedded.clickhouse.engine.chdb_engine import Engine, EngineLimits
from services.embedded.clickhouse.errors import StoreError


class FakeParser:
    """Renders `a` as `A`; what holds `bad` is no statement."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def command(self, sql: str) -> bytes:
        """Answers as chDB does."""
        self.asked.append(sql)
        if "bad" in sql:
            raise StoreError(62, "SYNTAX_ERROR", "Syntax error")
        return sql.partition("('")[2].partition("')")[0].upper().encode().hex().encode()


@pytest.fixture
def parser() -> FakeParser:
    """A parser that counts."""
    return FakeParser()


@pytest.fixture
def engine(tmp_path: Path, parser: FakeParser) -> Engine:
    """An engine whose parser is the fake; nothing else of it is started."""
    made = Engine(tmp_path, EngineLimits())
    made._of_thread.parser = parser
    return made


def test_statement_that_came_before_is_not_parsed_again(engine: Engine, parser: FakeParser) -> None:
    """Each text by itself: what differs in one character is asked about."""
    assert [engine.parse("a") for _ in range(5)] == [b"A"] * 5
    assert (engine.parse("a "), engine.parse("b")) == (b"A ", b"B")
    assert len(parser.asked) == 3


def test_statement_that_is_refused_is_refused_each_time(engine: Engine, parser: FakeParser) -> None:
    """A failure is not remembered, and no other text's rendering answers for it."""
    engine.parse("a")
    for _ in range(3):
        with pytest.raises(StoreError):
            engine.parse("bad")
    assert len(parser.asked) == 4


def test_memory_of_renderings_is_bounded(engine: Engine, parser: FakeParser) -> None:
    """By their number, and long texts are not kept."""
    long = "x" * 20_000
    assert engine.parse(long) == engine.parse(long) == long.upper().encode()
    assert len(parser.asked) == 2
    for number in range(1000):
        engine.parse(f"q{number}")
    assert engine._remembered.cache_info().currsize <= 256
