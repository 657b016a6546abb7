"""One request under way: what was asked, as it came and as it is understood, and what
the answer will be.
"""

from dataclasses import dataclass, field

from services.embedded.clickhouse.engine.inserts import Progress
from services.embedded.clickhouse.http.formats import is_streamed
from services.embedded.clickhouse.http.request import Body, Request, too_long
from services.embedded.clickhouse.http.response import Response
from services.embedded.clickhouse.sql import vocabulary
from services.embedded.clickhouse.sql.inserts import InsertHead, first_word, output_format, read_head
from services.embedded.clickhouse.sql.lexer import Token
from services.embedded.clickhouse.users import User

_WITH_RESULT = vocabulary.READS | {"check", "kill", "optimize"}
_STREAMING = {"select", "with", "from"}


@dataclass(slots=True)
class Statement:
    """What came: the SQL (of an INSERT with data: the part before the data), where data
    begins; what the store understood (`parsed`, and `text`, which is what runs); and
    what it did so far.
    """

    sql: bytes = b""
    insert: InsertHead | None = None
    first_data: bytes = b""
    parsed: list[Token] = field(default_factory=list)
    text: str = ""
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True)
class Result:
    """How a result leaves: its format, None when there is none, and whether as it is
    computed.
    """

    format: str | None
    streamed: bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request under way, and whose it is."""

    request: Request
    body: Body
    response: Response
    user: User
    statement: Statement

    @property
    def reads_only(self) -> bool:
        """Whether the request promises to change nothing: a GET, or by `readonly`."""
        request = self.request
        return request.method != "POST" or request.settings.get("readonly", "0") not in ("", "0")

    @property
    def result(self) -> Result:
        """What will be answered, once the statement is understood."""
        request, statement = self.request, self.statement
        word = first_word(statement.parsed)
        if statement.insert is not None or word not in _WITH_RESULT:
            return Result(None, streamed=False)
        name = output_format(statement.parsed) or request.interface.get("default_format") or "TabSeparated"
        plain = (
            not any(token.is_word("insert", "totals") for token in statement.parsed)
            and request.settings.get("extremes", "0") == "0"
        )
        return Result(name, streamed=word in _STREAMING and is_streamed(name) and plain)


async def read_statement(request: Request, body: Body, limit: int, *, into: Statement) -> None:
    """Takes the statement off the body, and of an INSERT's data not more than came with
    it.

    VALUES that fit the limit are part of the statement: then they may hold expressions,
    which the rights check has seen.

    Raises:
        StoreError: The statement is longer than `limit` bytes.
    """
    if request.is_form():
        request.read_form(await body.whole(limit))
    buffer = bytearray(request.statement())
    complete = False
    while True:
        head = read_head(bytes(buffer[:limit]), complete=complete)
        with_data = isinstance(head, InsertHead) and (head.format.lower() != "values" or len(buffer) > limit)
        if isinstance(head, InsertHead) and with_data:
            into.sql, into.insert = bytes(buffer[: head.data_at]), head
            into.first_data = bytes(buffer[head.data_at :])
            return
        if complete:
            into.sql = bytes(buffer)
            return
        if len(buffer) > limit:
            raise too_long(limit)
        piece = await body.next()
        complete = piece is None
        buffer += piece or b""
