"""Lists of a view's rows, the newest first, a page at a time."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.common.store.reading import ViewReader
from services.console.domain.exporting.places import Place, Question, Stretch, place_of

_NARROW, _WIDER = timedelta(hours=1), 8


@dataclass(frozen=True)
class NewestRows:
    """Reads lists."""

    reader: ViewReader

    async def page(
        self, question: Question, stretch: Stretch, most: int
    ) -> tuple[list[dict[str, Any]], Place | None]:
        """The newest rows of a stretch, `most` at most; and where the next page ends, None
        after the last.

        Raises:
            StoreUnavailableError: not now.
        """
        width = _NARROW
        while True:
            begin = max(stretch.begin.time, stretch.end.time - width)
            rows = await self._rows(question, Stretch(Place(begin), stretch.end), most + 1)
            if len(rows) > most or begin == stretch.begin.time:
                break
            width *= _WIDER
        places = [place_of(row.pop("_place")) for row in rows]
        return rows[:most], places[most - 1] if len(rows) > most else None

    async def slowest(self, question: Question, stretch: Stretch, by: str, most: int) -> list[dict[str, Any]]:
        """The rows of a stretch with the largest `by`, a column.

        Raises:
            StoreUnavailableError: not now.
        """
        rows = await self._rows(question, stretch, most, f"source.{by} DESC, ")
        for row in rows:
            del row["_place"]
        return rows

    async def _rows(
        self, question: Question, stretch: Stretch, most: int, first: str = ""
    ) -> list[dict[str, Any]]:
        where = question.where(stretch, is_open=True)
        columns = ", ".join(f"source.{name} AS {name}" for name in question.columns)
        return await self.reader.rows(
            f"SELECT {columns}, {question.place} AS _place FROM {question.name} AS source "  # noqa: S608  names of ours
            f"WHERE {where.sql} ORDER BY {first}{question.backwards} LIMIT {most}",
            where.parameters,
            tenant=question.tenant,
        )
