"""What the checks of a statement cost."""

from contextlib import suppress
from typing import Any

import pytest

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql import rights
from services.embedded.clickhouse.sql.analyst import rewritten, settings_clauses
from services.embedded.clickhouse.sql.lexer import Token, tokens
from services.embedded.clickhouse.users import Role


class CountedList(list[Token]):
    """Tokens that count how many are copied out of them."""

    copied = 0

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            self.copied += len(range(*at.indices(len(self))))
        return super().__getitem__(at)


@pytest.mark.parametrize(
    ("begin", "repeated", "end"),
    [
        ("SELECT 1", ",a", " FROM system.users"),
        ("SELECT 1", ";", " SELECT 2"),
        ("SELECT 1 FROM system.settings", " JOIN system.settings", ""),
        ("SELECT 1 SETTINGS a=1", ",a=1", ", b=0"),
        ("SELECT {x:Identifier}", ",{y:Identifier}", " FROM system.users"),
    ],
)
def test_check_of_a_long_statement_copies_it_a_few_times(begin: str, repeated: str, end: str) -> None:
    """Where each word was held against all that follow, 16 KB took seven seconds."""
    parsed = CountedList(tokens(f"{begin}{repeated * 2_000}{end}".encode()))
    with suppress(StoreError):
        rights.check_statement(parsed, Role.ANALYST, parameters={})
    with suppress(StoreError):
        settings_clauses(parsed)
    rewritten(parsed)
    assert parsed.copied < 10 * len(parsed)
