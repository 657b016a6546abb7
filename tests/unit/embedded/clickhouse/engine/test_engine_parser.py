"""What the engine's parser is asked, how often, and how much it may answer."""

import pytest

from services.embedded.clickhouse.engine.renderer import Renderer
from services.embedded.clickhouse.errors import StoreError


class FakeParser:
    """Renders `a` as `A`; what holds `bad` is no statement."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.times = 1

    def command(self, sql: str) -> bytes:
        """Answers as chDB does."""
        if sql.startswith("SET "):
            return b""
        self.asked.append(sql)
        if "bad" in sql:
            raise StoreError(62, "SYNTAX_ERROR", "Syntax error")
        rendered = sql.partition("('")[2].partition("')")[0].upper()
        return (rendered * self.times).encode().hex().encode()

    def close(self) -> None:
        """Is never used again."""


@pytest.fixture
def parser() -> FakeParser:
    """A parser that counts."""
    return FakeParser()


@pytest.fixture
def renderer(parser: FakeParser) -> Renderer:
    """A renderer whose handles are the fake."""
    return Renderer(lambda: parser)


def test_statement_that_came_before_is_not_parsed_again(renderer: Renderer, parser: FakeParser) -> None:
    """Each text by itself: what differs in one character is asked about."""
    assert [renderer.render("a") for _ in range(5)] == [b"A"] * 5
    assert (renderer.render("a "), renderer.render("b")) == (b"A ", b"B")
    assert len(parser.asked) == 3


def test_statement_that_is_refused_is_refused_each_time(renderer: Renderer, parser: FakeParser) -> None:
    """A failure is not remembered, and no other text's rendering answers for it."""
    renderer.render("a")
    for _ in range(3):
        with pytest.raises(StoreError):
            renderer.render("bad")
    assert len(parser.asked) == 4


def test_memory_of_renderings_is_bounded(renderer: Renderer, parser: FakeParser) -> None:
    """By their number, and long texts are not kept."""
    long = "x" * 20_000
    assert renderer.render(long) == renderer.render(long) == long.upper().encode()
    assert len(parser.asked) == 2
    for number in range(1000):
        renderer.render(f"q{number}")
    assert renderer._remembered.cache_info().currsize <= 256


@pytest.mark.parametrize("length", [10, 1_000, 60_000])
def test_rendering_far_longer_than_its_statement_is_refused(
    renderer: Renderer, parser: FakeParser, length: int
) -> None:
    """Nothing reads it, and nothing keeps it."""
    parser.times = 3
    assert len(renderer.render("x" * length)) == 3 * length
    parser.times = 5 + (64 << 10) // length
    with pytest.raises(StoreError, match="AST is too big") as refused:
        renderer.render("y" * length)
    assert refused.value.code == 168
