"""Traces in Langfuse go with their person: against a server that answers as its API says."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from services.common.errors import TocsinError
from services.common.process.egress import Egress
from services.console.privacy.elsewhere.langfuse import Langfuse
from services.console.privacy.stored.rows import Work
from services.console.privacy.subject import Subject

_CUT = datetime(2026, 11, 28, tzinfo=UTC)
_JO = Work("e/1", Subject("acme", "jo", ("u_jo", "n_jo")), _CUT)
_KEYS = "Basic " + base64.b64encode(b"pk-lf-1:sk-lf-1").decode()


@dataclass
class FakeLangfuse:
    """A project's traces: id, user, time. `statuses` are answered first; `is_slow` keeps
    what was deleted in its lists.
    """

    traces: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    is_slow: bool = False
    knows_users: bool = True
    deleted: list[str] = field(default_factory=list)
    pages: int = 0
    url: str = ""

    def add(self, user: str, count: int, at: datetime = _CUT - timedelta(days=1)) -> None:
        """So many traces more."""
        for _ in range(count):
            self.traces[f"t{len(self.traces)}"] = user, at

    async def serve(self, request: web.Request) -> web.Response:
        """`/api/public/traces`."""
        if self.statuses:
            return web.json_response(
                {"message": "no"}, status=self.statuses.pop(0), headers={"location": "/x"}
            )
        if request.headers.get("authorization") != _KEYS:
            return web.json_response({"message": "Invalid credentials"}, status=401)
        if request.method == "DELETE":
            ids = (await request.json())["traceIds"]
            self.deleted += ids
            if not self.is_slow:
                for one in ids:
                    self.traces.pop(one, None)
            return web.json_response({"message": "Traces deleted successfully"})
        return web.json_response(self._page(request.query))

    def _page(self, asked: Any) -> dict[str, Any]:
        self.pages += 1
        until, limit, page = (
            datetime.fromisoformat(asked["toTimestamp"]),
            int(asked["limit"]),
            int(asked["page"]),
        )
        found = [
            {"id": one, "userId": user, "timestamp": at.isoformat()}
            for one, (user, at) in self.traces.items()
            if (user == asked["userId"] or not self.knows_users) and at < until
        ]
        meta = {"page": page, "limit": limit, "totalItems": len(found), "totalPages": -(-len(found) // limit)}
        return {"data": found[(page - 1) * limit : page * limit], "meta": meta}


@pytest.fixture
async def fake() -> AsyncIterator[FakeLangfuse]:
    """One on loopback."""
    found = FakeLangfuse()
    app = web.Application()
    app.router.add_route("*", "/api/public/traces", found.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    yield found
    await runner.cleanup()


def _client(fake: FakeLangfuse, secret: str = "sk-lf-1", **more: Any) -> Langfuse:
    egress = more.pop("egress", Egress.of("127.0.0.1"))
    return Langfuse(fake.url, "pk-lf-1", secret, egress, **more)


async def test_all_pages_of_a_person_are_deleted_and_nobody_else_is_touched(fake: FakeLangfuse) -> None:
    """By both pseudonyms and by tenant and user; not what came after the cut, nor the
    plain name, which may be somebody else's, unless that is wanted.
    """
    fake.add("u_jo", 120)
    fake.add("n_jo", 1)
    fake.add("acme/jo", 3)
    fake.add("u_jo", 2, _CUT + timedelta(hours=1))
    fake.add("jo", 4)
    fake.add("u_kim", 5)
    assert await _client(fake).count(_JO) == 124
    counted = await _client(fake).erase(_JO)
    assert (counted.found, counted.erased, counted.left) == (124, 124, 0)
    assert sorted(user for user, _ in fake.traces.values()) == [*["jo"] * 4, *["u_jo"] * 2, *["u_kim"] * 5]
    assert (await _client(fake).erase(_JO)).found == 0
    assert (await _client(fake, plain_names=True).erase(_JO)).found == 4
    assert fake.pages > 3


async def test_what_langfuse_deletes_later_is_told_as_left_until_it_is_gone(fake: FakeLangfuse) -> None:
    """It accepts at once and works in the background."""
    fake.add("u_jo", 2)
    fake.is_slow = True
    counted = await _client(fake).erase(_JO)
    assert (counted.found, counted.left, "next round" in counted.why) == (2, 2, True)
    fake.traces.clear()
    counted = await _client(fake).erase(_JO)
    assert (counted.found, counted.left, counted.why) == (0, 0, "")


@pytest.mark.parametrize(
    ("statuses", "named"),
    [
        ([500], "LangfuseAwayError"),
        ([429], "LangfuseAwayError"),
        ([401], "LangfuseRefusesKeysError"),
        ([403], "LangfuseRefusesKeysError"),
        ([302], "LangfuseNotUnderstoodError"),
        ([404], "LangfuseNotUnderstoodError"),
    ],
)
async def test_langfuse_that_cannot_says_why_and_is_asked_again(
    fake: FakeLangfuse, statuses: list[int], named: str
) -> None:
    """The receipt has the error's name; the next attempt does all of it."""
    fake.add("u_jo", 60)
    fake.statuses = statuses
    with pytest.raises(TocsinError) as refused:
        await _client(fake).erase(_JO)
    assert type(refused.value).__name__ == named
    assert "sk-lf-1" not in f"{refused.value!r} {_client(fake)!r}"
    assert (await _client(fake).erase(_JO)).found == 60


async def test_langfuse_with_wrong_keys_at_a_private_address_or_away_deletes_nothing(
    fake: FakeLangfuse,
) -> None:
    """A private address is not even connected to; a server that knows no `userId` would
    have everybody deleted, and is not believed.
    """
    fake.add("u_jo", 1)
    fake.add("u_kim", 1)
    fake.knows_users = False
    away = Langfuse("http://127.0.0.1:1", "pk", "sk", Egress.of("127.0.0.1"), timeout_s=2)
    for client, named in (
        (_client(fake, "wrong"), "LangfuseRefusesKeysError"),
        (_client(fake, egress=Egress()), "LangfuseAddressRefusedError"),
        (_client(fake), "LangfuseNotUnderstoodError"),
        (away, "LangfuseAwayError"),
    ):
        with pytest.raises(TocsinError) as refused:
            await client.erase(_JO)
        assert type(refused.value).__name__ == named
    assert fake.deleted == []
