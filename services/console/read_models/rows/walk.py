"""Walks a view from one place to another, a stretch at a time that fits into memory.

Each stretch is two short statements: where it ends, then its rows. So the store sorts no
more than a stretch, holds no query for a client that reads slowly, and may die between
two of them.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from services.common.store.reading import ResultTooLargeError, ViewReader
from services.console.domain.exporting.places import Place, Question, Stretch, place_of

_FIRST_ROWS, _MOST_ROWS, _GROWTH = 2_000, 50_000, 4
_WANTED_BYTES, _MOST_BYTES = 8 << 20, 32 << 20
_NARROWEST, _DAY = timedelta(seconds=1), timedelta(days=1)


class Piece(NamedTuple):
    """The rows of a stretch as text or bytes of a format, and how many there are."""

    data: bytes
    rows: int
    end: Place


@dataclass
class Walk:
    """A walk through the rows of a question. After a failure it may be gone on with:
    `at` is behind what was told.
    """

    reader: ViewReader
    question: Question
    at: Place
    end: Place
    form: str
    select: str
    rows: int = _FIRST_ROWS
    width: timedelta = timedelta(hours=1)
    narrowest: timedelta = _NARROWEST

    def __post_init__(self) -> None:
        if self.question.view.is_daily:
            self.narrowest = _DAY
        self.width = max(self.width, self.narrowest)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self.at == self.end or self.at.time > self.end.time

    async def ends(self, rows: int) -> tuple[int, Place]:
        """How many rows come from here up to `rows`, and where they end: the end where
        there are not so many. Goes there.

        Raises:
            StoreUnavailableError: not now.
        """
        left = rows
        while left > 0 and not self.is_over:
            found, self.at = await self._stretch(min(left, _MOST_ROWS))
            left -= found
        return rows - left, self.at

    async def pieces(self) -> AsyncIterator[Piece]:
        """The rows, in order; at least one piece, though it be empty.

        Raises:
            StoreUnavailableError: not now; calling it again goes on.
            ResultTooLargeError: a single row is larger than can be told.
        """
        has_told = False
        while not self.is_over:
            found, end = await self._stretch(self.rows)
            if found:
                try:
                    data = await self._told(Stretch(self.at, end))
                except ResultTooLargeError:
                    if self.rows == 1:
                        raise
                    self.rows //= 2
                    continue
                self._adapt(len(data), found)
                has_told = True
                self.at = end
                yield Piece(data, found, end)
            self.at = end
        if not has_told:
            yield Piece(await self._told(Stretch(self.at, self.at)), 0, self.at)

    async def _stretch(self, most: int) -> tuple[int, Place]:
        """How many rows come next, `most` at most, and where they end."""
        until = self._window()
        where = self.question.where(Stretch(self.at, until))
        place = self.question.place
        (row,) = await self.reader.rows(
            f"SELECT count() AS n, max(place) AS last FROM (SELECT {place} AS place "  # noqa: S608  names of ours
            f"FROM {self.question.name} AS source WHERE {where.sql} "
            f"ORDER BY {self.question.order} LIMIT {most})",
            where.parameters,
            tenant=self.question.tenant,
        )
        found = int(row["n"])
        if found < most:
            if found < most // 4:
                self.width *= 4
            return found, until
        last = place_of(row["last"])
        self.width = max(self.narrowest, min(self.width, 2 * (last.time - self.at.time)))
        return found, last

    def _window(self) -> Place:
        """How far is looked at once."""
        left = self.end.time - self.at.time
        if self.width >= left:
            return self.end
        until = Place(self.at.time + self.width)
        return until if until.time < self.end.time else self.end

    async def _told(self, stretch: Stretch) -> bytes:
        where = self.question.where(stretch)
        return await self.reader.text(
            f"SELECT {self.select} FROM {self.question.name} AS source WHERE {where.sql} "  # noqa: S608  names of ours
            f"ORDER BY {self.question.order}",
            self.form,
            where.parameters,
            tenant=self.question.tenant,
            most_bytes=_MOST_BYTES,
        )

    def _adapt(self, size: int, rows: int) -> None:
        """So many rows next time as are about eight megabytes."""
        fitting = _WANTED_BYTES * rows // max(size, 1)
        self.rows = max(1, min(fitting, self.rows * _GROWTH, _MOST_ROWS))
