"""What lists of a view's rows have in common: their parameters, and a page of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import Field

from services.common.http.problems import malformed
from services.common.store.reading import ViewReader
from services.console.domain.cost_query import InvalidQueryError
from services.console.domain.cursors import InvalidCursorError
from services.console.domain.exporting.catalogue import EXPORTED
from services.console.domain.exporting.filters import condition
from services.console.domain.exporting.places import (
    Question,
    Stretch,
    cursor_of,
    digest_of,
    read_cursor,
    whole,
)
from services.console.read_models.rows.newest import NewestRows
from services.console.routes.figures.span import SpanParameters


class ListParameters(SpanParameters):
    """Which rows, by the view's time."""

    days: int = Field(
        7, ge=1, le=400, description="Instead of `from`: so many days up to now, today being one."
    )
    tenant: str = Field("", min_length=1, max_length=64, description="Of this tenant only.")
    limit: int = Field(50, ge=1, le=500, description="At most so many.")
    cursor: str = Field(
        "", max_length=2000, description="`next_cursor` of the page before; all else as then."
    )


@dataclass(frozen=True)
class ViewList:
    """A list of a view's rows: `types` are its columns, in order, with ClickHouse's types."""

    reader: ViewReader
    view: str
    types: Mapping[str, str]

    async def page(
        self, asked: ListParameters, filters: Sequence[str], tenant: str, now: datetime, slowest_by: str = ""
    ) -> dict[str, Any]:
        """The newest rows that all filters hold for, and how to go on; or those with the
        largest of a column.

        Raises:
            ProblemError: 400, a filter, the span or the cursor makes no sense.
            StoreUnavailableError: not now.
        """
        view = EXPORTED[self.view]
        digest = digest_of(self.view, filters, tenant, asked.from_, asked.to, asked.days, asked.time_zone)
        try:
            conditions = tuple(condition(one, self.types, number) for number, one in enumerate(filters))
            span = asked.request().query(now, {})
            stretch = whole(view, span.since, span.until)
            if asked.cursor:
                stretch = read_cursor(asked.cursor, digest, len(view.place))
        except InvalidQueryError as error:
            raise malformed(str(error), error.name) from error
        except InvalidCursorError as error:
            raise malformed(f"{error}.", "cursor") from error
        question, rows = (
            Question(self.view, view, tuple(self.types), conditions, tenant),
            NewestRows(self.reader),
        )
        if slowest_by:
            return {
                "data": await rows.slowest(question, stretch, slowest_by, asked.limit),
                "next_cursor": None,
            }
        found, last = await rows.page(question, stretch, asked.limit)
        return {"data": found, "next_cursor": last and cursor_of(Stretch(stretch.begin, last), digest)}
