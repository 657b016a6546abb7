"""Exports and requests as a client asks for them, over a store that answers what it is told."""

from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from starlette.requests import ClientDisconnect

from schemas.control import Scope
from services.common.http.responses import ClosingResponse
from services.common.store.reading import ResultTooLargeError, ViewReader
from services.console.domain.exporting.catalogue import EXPORTED
from services.console.domain.exporting.places import Place, Question, Stretch, cursor_of, digest_of
from services.console.read_models.rows.walk import Walk
from tests.support.console.answering_views import AnsweringViews
from tests.support.console.scene import TENANT_ADMIN, ConsoleScene

_DAY = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def scene() -> ConsoleScene:
    """A console with two tenants."""
    made = ConsoleScene()
    made.have_tenant("acme")
    made.have_tenant("globex")
    return made


async def test_first_row_that_is_too_large_is_refused_with_what_to_leave_out(scene: ConsoleScene) -> None:
    """And holds no place: a tenant has two."""
    views = AnsweringViews(scene.store)

    async def text(sql: str, form: str, *given: Any, **named: Any) -> bytes:
        if "max(place)" in sql:
            return orjson.dumps({"n": 1, "last": ["2026-11-27T12:00:00Z", "acme", "r"]})
        if sql.startswith("SELECT source."):
            raise ResultTooLargeError("there is more than 32 MB")
        return await views.text(sql, form, *given, **named)

    scene.console.views.text = text  # type: ignore[method-assign]
    headers, _ = scene.key("acme", *TENANT_ADMIN)
    for form in ("json", "csv", "parquet"):
        answer = await scene.client.get(f"/api/export/v_requests?format={form}", headers=headers)
        assert (answer.status_code, answer.json().get("param")) == (400, "columns"), answer.text


async def test_client_that_leaves_before_the_first_piece_holds_nothing() -> None:
    """What the answer is made of is closed, though nothing of its body was read."""
    closed: list[bool] = []

    async def source() -> AsyncGenerator[bytes]:
        try:
            yield b"first"
            yield b"more"
        finally:
            closed.append(True)

    async def body() -> AsyncGenerator[bytes]:
        async for piece in pieces:
            yield piece

    async def leave(message: Any) -> None:
        raise OSError(message["type"])

    async def receive() -> Any:
        raise AssertionError

    pieces = source()
    assert await anext(pieces) == b"first"
    answer = ClosingResponse(pieces, body(), {}, "text/plain")
    with pytest.raises(ClientDisconnect):
        await answer({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, leave)
    assert closed == [True]


async def test_request_with_its_texts_is_kept_by_no_browser(scene: ConsoleScene) -> None:
    """Figures may be, and are asked for again."""
    headers, _ = scene.key("acme", *TENANT_ADMIN)
    told = await scene.client.get("/api/requests/r", headers=headers)
    listed = await scene.client.get("/api/requests", headers=headers)
    assert told.headers["cache-control"] == "no-store"
    assert listed.headers["cache-control"] == "private, no-cache"


async def test_request_is_asked_for_with_its_tenant_though_the_engine_knows_it(scene: ConsoleScene) -> None:
    """Two walls: the statement's own condition, and the reader's policy."""
    asked: list[tuple[str, str, str]] = []
    views = AnsweringViews(scene.store)

    async def text(sql: str, form: str, parameters: Mapping[str, str], *, tenant: str, **_: Any) -> bytes:
        asked.append((sql, parameters["tenant"], tenant))
        return await views.text(sql, form, parameters, tenant=tenant)

    scene.console.views.text = text  # type: ignore[method-assign,assignment]
    await scene.client.get("/api/requests/r", headers=scene.key("acme", Scope.READ)[0])
    assert [one[1:] for one in asked] == [("acme", "acme")] * 2
    assert all("tenant = {tenant:String}" in sql for sql, *_ in asked)
    asked.clear()
    await scene.client.get("/api/requests/r", headers=scene.key("default", *Scope)[0])
    assert asked[0][1:] == ("", "")


@pytest.mark.parametrize("named", ["x' OR '1", "\\", "Acme", "*", "a/b"])
@pytest.mark.parametrize(
    "path", ["requests", "export/v_requests", "costs", "usage/analytics", "security/summary", "admin/audit"]
)
async def test_tenant_that_nothing_can_be_called_is_refused(
    scene: ConsoleScene, path: str, named: str
) -> None:
    """Before the store is asked."""
    headers, _ = scene.key("default", *Scope)
    answer = await scene.client.get(f"/api/{path}", params={"tenant": named}, headers=headers)
    assert (answer.status_code, answer.json()["param"]) == (400, "tenant")
    assert scene.store.asked == []


@pytest.mark.parametrize("named", ["x' OR '1", "\\' OR 1 --"])
async def test_tenant_that_the_engine_is_told_cannot_end_its_quotes(named: str) -> None:
    """Whoever may have let it through."""
    sent: list[Mapping[str, str]] = []

    class Session:
        def post(self, _url: str, *, params: Mapping[str, str], data: bytes) -> Any:
            del data
            sent.append(params)
            raise OSError("there is none here")

    reader = ViewReader("http://u:p@localhost/d")
    reader._session = Session()  # type: ignore[assignment]
    with pytest.raises(Exception, match="did not answer"):
        await reader.rows("SELECT 1", tenant=named)
    told = sent[0]["SQL_tenant"]
    assert (told[0], told[-1]) == ("'", "'")
    assert told[1:-1].replace("\\\\", "").replace("\\'", "").count("'") == 0


@pytest.mark.parametrize("year", [1, 1899, 2300, 9999])
async def test_cursor_of_a_time_that_the_store_does_not_know_is_refused(
    scene: ConsoleScene, year: int
) -> None:
    """It is made by hand: the digest can be worked out by anybody."""
    headers, _ = scene.key("acme", Scope.READ)
    moment = Place(datetime(year, 1, 1, tzinfo=UTC))
    digest = digest_of("v_requests", [], "acme", "", "", 7, "UTC")
    known = cursor_of(Stretch(Place(_DAY), Place(_DAY)), digest)
    answer = await scene.client.get(f"/api/requests?cursor={known}", headers=headers)
    assert answer.status_code == 200, answer.text
    for stretch in (Stretch(moment, Place(_DAY)), Stretch(Place(_DAY), moment)):
        cursor = cursor_of(stretch, digest)
        answer = await scene.client.get(f"/api/requests?cursor={cursor}", headers=headers)
        assert (answer.status_code, answer.json()["param"]) == (400, "cursor")


class _Users:
    """Ten users of each of three days, as `v_users` has them."""

    def __init__(self) -> None:
        self.rows_of = [(f"2026-11-0{day}", f"u{user}") for day in (1, 2, 3) for user in range(10)]
        self.asked: list[Mapping[str, str]] = []

    async def rows(self, sql: str, parameters: Mapping[str, str], *, tenant: str = "") -> list[Any]:
        """What is found of a stretch, and where it ends."""
        del tenant
        self.asked.append(parameters)
        most = int(sql.rpartition("LIMIT ")[2].removesuffix(")"))
        begin = (parameters["begin"], parameters.get("begin_1", ""))
        found = [one for one in self.rows_of if begin < one < (parameters["end"], "")][:most]
        last = [found[-1][0], "acme", found[-1][1]] if found else []
        return [{"n": len(found), "last": last}]

    async def text(self, *_: Any, **__: Any) -> bytes:
        """So much that a piece has no more than four rows."""
        return bytes(8 << 20)


async def test_walk_through_days_looks_at_no_part_of_a_day() -> None:
    """Where many rows of one day are told in several pieces, none is asked for in vain."""
    users, view = _Users(), EXPORTED["v_users"]
    question = Question("v_users", view, ("day", "user"))
    end = Place(_DAY + timedelta(days=3))
    walk = Walk(users, question, Place(_DAY), end, "JSONEachRow", "1", rows=4)  # type: ignore[arg-type]
    assert sum([piece.rows async for piece in walk.pieces()]) == 30
    assert all(one["begin"] < one["end"] for one in users.asked)
    assert len(users.asked) <= 20
