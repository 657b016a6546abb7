"""A statement as the engine's own parser understands it."""

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql.lexer import quote

_PARSED_BYTES = 4 << 20
_MEMORY_BYTES = 64 << 20
_FACTOR, _MARGIN_BYTES = 4, 64 << 10
"""How long a rendering may be, by the text's length: the engine writes `x BETWEEN y AND
z` with two x, so that a nest of them doubles at each level.
"""
_REMEMBERED, _REMEMBERED_CHARS = 256, 16 << 10
"""How many renderings are kept, and of texts of which length: 32 MiB at most."""


class ParserHandle(Protocol):
    """What a renderer needs of a handle."""

    def command(self, sql: str) -> bytes:
        """Runs a statement; its result."""

    def close(self) -> None:
        """Gives it back."""


class Renderer:
    """Renders statements, by a handle of its own in each thread."""

    def __init__(self, make_handle: Callable[[], ParserHandle]) -> None:
        self._make_handle = make_handle
        self._of_thread = threading.local()
        self._handles: list[ParserHandle] = []
        self._remembered = lru_cache(_REMEMBERED)(self._render)

    def render(self, sql: str) -> bytes:
        """One statement without comments, in one line.

        The rendering follows from the text alone, so that of a text that came before is
        remembered. An analyst's statement is asked about twice, as it came and as it
        shall run (ADR 5), and dashboards send the same ones again and again.

        Raises:
            StoreError: A syntax error, more than one statement, or one whose rendering
                is far longer than itself.
        """
        return self._remembered(sql) if len(sql) <= _REMEMBERED_CHARS else self._render(sql)

    def close(self) -> None:
        """Closes the handles."""
        while self._handles:
            self._handles.pop().close()

    def _render(self, sql: str) -> bytes:
        handle: ParserHandle | None = getattr(self._of_thread, "handle", None)
        if handle is None:
            handle = self._of_thread.handle = self._make_handle()
            handle.command(f"SET max_query_size = {_PARSED_BYTES}, max_memory_usage = {_MEMORY_BYTES}")
            handle.command("SET implicit_select = 0")
            self._handles.append(handle)
        try:
            rendered = handle.command(f"SELECT hex(formatQuerySingleLine({quote(sql)}))")
        except StoreError as error:
            if error.code == 241:  # MEMORY_LIMIT_EXCEEDED
                raise _too_big(_MEMORY_BYTES) from error
            message = error.message.partition(": In scope SELECT hex(formatQuerySingleLine(")[0]
            raise StoreError(error.code, error.name, message) from error
        if len(rendered) // 2 > (most := _FACTOR * len(sql.encode()) + _MARGIN_BYTES):
            raise _too_big(most)
        return bytes.fromhex(rendered.decode())


def _too_big(most: int) -> StoreError:
    return StoreError(
        168,
        "TOO_BIG_AST",
        f"AST is too big: the statement stands for more than {most} bytes of SQL; nest fewer BETWEENs, or "
        "write the comparisons out",
    )
