"""/api/export: views as files."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import structlog
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.control import Scope
from schemas.errors import ErrorCode
from services.common.clock import Clock
from services.common.http.problems import (
    Problem,
    ProblemError,
    forbidden,
    malformed,
    retry_after,
    unavailable,
)
from services.common.http.responses import ClosingResponse, json_response
from services.common.store.reading import ResultTooLargeError
from services.common.store.tenant_views import TENANT_VIEWS
from services.console.administration.authorisation import not_found, tenant_asked
from services.console.administration.kinds import PRIVATE
from services.console.administration.query import names_of, read_query
from services.console.auditing.recorder import CallRecorder, was_withheld
from services.console.domain.cost_query import InvalidQueryError
from services.console.domain.cursors import InvalidCursorError
from services.console.domain.exporting.catalogue import EXPORTED, Reach, hidden_from, reach_of, views_for
from services.console.domain.exporting.filters import MOST_FILTERS, condition
from services.console.domain.exporting.places import (
    Question,
    Stretch,
    cursor_of,
    digest_of,
    read_cursor,
    whole,
)
from services.console.identity.callers import Caller, Callers
from services.console.read_models.rows.export import Column, Exports
from services.console.read_models.rows.walk import Piece
from services.console.routes.documentation import path_of, problems, query_of
from services.console.routes.figures.span import SpanParameters

log = structlog.get_logger(__name__)

MOST_ROWS = 1_000_000
"""Of an answer that a limit ends."""
_LONGEST_FILTER = 300
_SOON_S = 5
_MEDIA = {
    "json": ("application/x-ndjson", "ndjson"),
    "csv": ("text/csv; charset=utf-8", "csv"),
    "parquet": ("application/vnd.apache.parquet", "parquet"),
}


class ExportParameters(SpanParameters):
    """Which rows, and as what."""

    days: int = Field(
        30, ge=1, le=5 * 366, description="Instead of `from`: so many days up to now, today being one."
    )
    format: Literal["json", "csv", "parquet"] = Field(
        "json",
        description="`json` is an object a line (NDJSON); `csv` has a line of names, but not with a cursor.",
    )
    columns: str = Field("", max_length=2000, description="These, separated by commas; else all.")
    filter: list[str] = Field(
        [],
        max_length=MOST_FILTERS,
        description="A column, one of = != < <= > >=, and a value: `outcome=failed`. May come several times.",
    )
    tenant: str = Field("", min_length=1, max_length=64, description="Of this tenant only.")
    limit: int | None = Field(
        None,
        ge=1,
        le=MOST_ROWS,
        description="So many rows, or a few more of the same moment; then `x-next-cursor` says how to go on.",
    )
    cursor: str = Field(
        "", max_length=2000, description="`x-next-cursor` of the answer before; all else as then."
    )


class ExportedColumn(BaseModel):
    """A column."""

    name: str
    type: str = Field(description="ClickHouse's.")
    comment: str


class ExportedView(BaseModel):
    """A view, as far as the caller sees it."""

    view: str
    time: str = Field(description="The column that `from` and `to` are about, and rows are ordered by.")
    columns: list[ExportedColumn]


class ViewsAnswer(BaseModel):
    """What may be exported."""

    views: list[ExportedView]


_NAMES = names_of(ExportParameters)


@dataclass(frozen=True)
class _Export:
    """What was understood of a call."""

    question: Question
    types: dict[str, str]
    stretch: Stretch
    format: Literal["json", "csv", "parquet"]
    named: bool
    headers: dict[str, str]
    """Of an answer with a limit: how many rows, between which times, and how to go on."""


class _Wanted(NamedTuple):
    """Which view, of which tenant (empty: all), without which columns."""

    name: str
    tenant: str
    hidden: frozenset[str]


@dataclass(frozen=True)
class _Routes:
    exports: Exports
    auditing: CallRecorder
    clock: Clock

    async def views(self, caller: Caller) -> Response:
        reach, columns = reach_of(caller.principal), await self.exports.columns()
        told = [
            {
                "view": name,
                "time": view.time,
                "columns": [
                    {"name": one.name, "type": one.type, "comment": one.comment}
                    for one in columns.get(name, ())
                    if one.name not in hidden_from(view, reach)
                ],
            }
            for name, view in views_for(reach).items()
        ]
        return json_response({"views": told}, headers=PRIVATE)

    async def export(self, request: Request, caller: Caller) -> Response:
        asked = read_query(request, ExportParameters, _NAMES, repeated=("filter",))
        pieces = self._pieces(request, caller, asked, _wanted(request, caller, asked.tenant))
        try:
            found, first = await anext(pieces), await anext(pieces)
        except ResultTooLargeError as error:
            raise malformed(
                "columns: a row is larger than can be told; leave texts out.", "columns"
            ) from error
        assert isinstance(found, _Export)  # noqa: S101  it comes first
        assert isinstance(first, Piece)  # noqa: S101  then a piece
        media, ending = _MEDIA[found.format]
        headers = {**PRIVATE, "content-disposition": f'attachment; filename="{found.question.name}.{ending}"'}
        headers |= found.headers
        return ClosingResponse(pieces, _bytes(request, first, pieces), headers, media)

    async def _pieces(
        self, request: Request, caller: Caller, asked: ExportParameters, wanted: _Wanted
    ) -> AsyncGenerator["_Export | Piece"]:
        """What was understood, then the rows. The export's place is held until it is
        closed, and then the audit told how far it came.
        """
        with self.exports.place(caller.tenant) as refusal:
            if refusal:
                raise _no_room(refusal, self.exports)
            columns = (await self.exports.columns()).get(wanted.name)
            if columns is None:
                raise unavailable(
                    f"The store has no {wanted.name} yet: `tocsin migrate`.", code=ErrorCode.STORE_UNAVAILABLE
                )
            export = await self._understood(asked, wanted, columns)
            rows, state = 0, "client left"
            yield export
            pieces = self.exports.pieces(
                export.question, export.stretch, export.format, export.types, named=export.named
            )
            has_begun = False
            try:
                async with aclosing(pieces):
                    async for piece in pieces:
                        rows += piece.rows
                        has_begun = True
                        yield piece
                state = "whole"
            except Exception as error:
                state = type(error).__name__
                if has_begun:
                    log.warning("export_broken_off", view=wanted.name, rows=rows, error=str(error))
                raise
            finally:
                if has_begun:
                    after = {"rows": rows, "whole": state == "whole", "format": export.format}
                    self.auditing.note_end(request.scope, "view.export_ended", state, after)

    async def _understood(
        self, asked: ExportParameters, wanted: _Wanted, columns: Sequence[Column]
    ) -> _Export:
        name, view, hidden = wanted.name, EXPORTED[wanted.name], wanted.hidden
        seen = {one.name: one.type for one in columns if one.name not in hidden}
        chosen = _columns(asked.columns, seen, hidden)
        digest = digest_of(
            name,
            chosen,
            asked.filter,
            wanted.tenant,
            asked.from_,
            asked.to,
            asked.days,
            asked.time_zone,
            asked.format,
        )
        try:
            conditions = tuple(
                condition(_short(one), seen, number) for number, one in enumerate(asked.filter)
            )
            span = asked.request().query(self.clock(), {})
            stretch = whole(view, span.since, span.until)
            if asked.cursor:
                stretch = read_cursor(asked.cursor, digest, len(view.place))
        except InvalidQueryError as error:
            raise malformed(str(error), error.name) from error
        except InvalidCursorError as error:
            raise malformed(f"{error}.", "cursor") from error
        question = Question(name, view, chosen, conditions, wanted.tenant)
        headers = dict[str, str]()
        if asked.limit is not None:
            rows, end = await self.exports.after(question, stretch, asked.limit)
            told = {"since": stretch.begin, "next-from": end, "until": stretch.end}
            headers = {"x-rows": str(rows)} | {
                f"x-{name}": one.time.isoformat() for name, one in told.items()
            }
            if end != stretch.end:
                headers["x-next-cursor"] = cursor_of(Stretch(end, stretch.end), digest)
            stretch = Stretch(stretch.begin, end)
        return _Export(question, seen, stretch, asked.format, not asked.cursor, headers)


def export_router(callers: Callers, exports: Exports, auditing: CallRecorder, clock: Clock) -> APIRouter:
    """Exports."""
    router = APIRouter(prefix="/api/export", tags=["Export"])
    routes = _Routes(exports, auditing, clock)

    def reader(request: Request) -> Caller:
        return callers.caller(request, Scope.READ)

    @router.get("", response_model=ViewsAnswer, responses=problems(401, 403, 429, 503))
    async def views(caller: Annotated[Caller, Depends(reader)]) -> Response:
        """List the views that the caller may export, with their columns."""
        return await routes.views(caller)

    @router.get(
        "/{view}",
        response_model=None,
        responses=problems(400, 401, 403, 404, 429, 503)
        | {200: {"content": {one: {} for one, _ in _MEDIA.values()}}},
        openapi_extra={
            "parameters": [
                *path_of("{view}")["parameters"],
                *query_of(ExportParameters, _NAMES)["parameters"],
            ]
        },
    )
    async def export(request: Request, caller: Annotated[Caller, Depends(reader)]) -> Response:
        """Export a view's rows, in the order of its time. The answer is streamed; one that
        breaks off ends without its end, so that no part is taken for the whole.
        """
        return await routes.export(request, caller)

    return router


async def _bytes(
    request: Request, first: Piece, pieces: AsyncGenerator["_Export | Piece"]
) -> AsyncIterator[bytes]:
    yield first.data
    async for piece in pieces:
        if was_withheld(request.scope):
            return
        assert isinstance(piece, Piece)  # noqa: S101  what was understood came first
        yield piece.data


def _wanted(request: Request, caller: Caller, tenant: str) -> _Wanted:
    """What is meant.

    Raises:
        ProblemError: 404, there is no such view; 403, it is not for the caller; 400, it is
            not told by tenant.
    """
    name, reach = str(request.path_params["view"]), reach_of(caller.principal)
    _require_view(name, reach)
    found = tenant_asked(caller.principal, tenant)
    if found and name not in TENANT_VIEWS:
        raise malformed(f"tenant: {name} is not told by tenant; leave it out.", "tenant")
    return _Wanted(name, found, hidden_from(EXPORTED[name], reach))


def _require_view(name: str, reach: Reach) -> None:
    known = views_for(reach)
    if name in known:
        return
    if name in EXPORTED:
        who = "the platform's administrators" if EXPORTED[name].reach is Reach.PLATFORM else "administrators"
        raise forbidden(f"{name} is for {who}. There are for you {', '.join(known)}.")
    raise not_found(f"there is no view {name!r} to export; there are {', '.join(known)}", "view")


def _columns(text: str, seen: dict[str, str], hidden: frozenset[str]) -> tuple[str, ...]:
    if not text:
        return tuple(seen)
    chosen = tuple(dict.fromkeys(one.strip() for one in text.split(",")))
    for one in chosen:
        if one in hidden:
            raise forbidden(f"The column {one} is for administrators: leave it out.")
        if one not in seen:
            raise malformed(f"columns: there is no {one!r} here; there are {', '.join(seen)}.", "columns")
    return chosen


def _short(text: str) -> str:
    if len(text) > _LONGEST_FILTER:
        raise InvalidQueryError("filter", f"filter is longer than {_LONGEST_FILTER} characters.")
    return text


def _no_room(refusal: str, exports: Exports) -> ProblemError:
    if refusal == "all":
        return unavailable("Other exports are being written. Try again.", code=ErrorCode.OVERLOADED)
    return ProblemError(
        Problem(
            429,
            ErrorCode.RATE_LIMIT_EXCEEDED,
            f"{exports.of_tenant} exports of your tenant are being written. Try again when one is done.",
            headers=retry_after(_SOON_S),
        )
    )
