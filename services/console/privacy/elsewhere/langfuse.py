"""Traces of a person in Langfuse, deleted by its public API.

Tocsin's own spans name nobody and hold no text (`common/process/telemetry.py`); what
names a person there comes from callers who trace by themselves. The API as of Langfuse
3: `GET /api/public/traces` by `userId` in pages, `DELETE /api/public/traces` with
`traceIds`, which is done later, in the background. Played against a fake only.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from services.common.errors import TransientError
from services.common.process.egress import AddressRefusedError, Egress
from services.console.privacy.stored.rows import Counted, Work

_PAGE = 50
_AT_ONCE = 100
_MOST_TRACES = 100_000
_MOST_BYTES = 16 * 1024 * 1024
_LATER = "traces whose deletion Langfuse has accepted and does in the background; the next round looks again"


class LangfuseAwayError(TransientError):
    """Langfuse does not answer, or answers that it cannot now."""


class LangfuseRefusesKeysError(TransientError):
    """Langfuse does not take the keys: TOCSIN_LANGFUSE_PUBLIC_KEY and …_SECRET_KEY."""


class LangfuseAddressRefusedError(TransientError):
    """Its address is not public, and TOCSIN_EGRESS_ALLOWED does not name its network."""


class LangfuseNotUnderstoodError(TransientError):
    """It answers something else than Langfuse's API does."""


@dataclass(frozen=True)
class Langfuse:
    """One project of one Langfuse. Persons are looked for by their pseudonyms and by
    `tenant/user`; by the plain name only with `plain_names`, since somebody else's
    tenant may have a user of that name in the same project.
    """

    url: str
    public_key: str
    secret_key: str = field(repr=False)
    egress: Egress = field(default_factory=Egress)
    plain_names: bool = False
    timeout_s: float = 10.0

    async def count(self, work: Work) -> int:
        """How many traces there are of a person, up to the cut.

        Raises:
            TransientError: not now; the error's name says why.
        """
        async with self._session() as session:
            return len(await self._traces(session, work))

    async def erase(self, work: Work) -> Counted:
        """Has all of them deleted.

        Raises:
            TransientError: not now; some may be deleted.
        """
        async with self._session() as session:
            found = await self._traces(session, work)
            for begin in range(0, len(found), _AT_ONCE):
                some = {"traceIds": found[begin : begin + _AT_ONCE]}
                await self._call(session, "DELETE", json=some)
            left = len(await self._traces(session, work)) if found else 0
        return Counted(len(found), len(found), left, _LATER if left else "")

    async def _traces(self, session: aiohttp.ClientSession, work: Work) -> list[str]:
        users = [*work.subject.pseudonyms, work.subject.entry_id]
        if self.plain_names:
            users.append(work.subject.user)
        found: dict[str, None] = {}
        for user in users:
            async for trace_id in self._of(session, user, work.cut_at.isoformat()):
                found[trace_id] = None
                if len(found) >= _MOST_TRACES:
                    return list(found)
        return list(found)

    async def _of(self, session: aiohttp.ClientSession, user: str, until: str) -> AsyncIterator[str]:
        asked = {"userId": user, "toTimestamp": until, "limit": str(_PAGE), "fields": "core"}
        for page in range(1, _MOST_TRACES // _PAGE + 1):
            told = await self._call(session, "GET", params=asked | {"page": str(page)})
            traces, pages = told.get("data"), (told.get("meta") or {}).get("totalPages", page)
            if not isinstance(traces, list) or not all(isinstance(one, dict) for one in traces):
                raise LangfuseNotUnderstoodError("its answer has no list `data` of traces")
            for one in traces:
                # An API that does not know `userId` would tell, and lose, everybody's.
                if one.get("userId") != user or not isinstance(one.get("id"), str):
                    raise LangfuseNotUnderstoodError("it tells of a trace that is not the user's")
                yield one["id"]
            if not traces or not isinstance(pages, int) or page >= pages:
                return

    async def _call(self, session: aiohttp.ClientSession, method: str, **options: Any) -> dict[str, Any]:
        try:
            async with session.request(
                method, f"{self.url.rstrip('/')}/api/public/traces", allow_redirects=False, **options
            ) as answer:
                body = await _body(answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            refused = isinstance(getattr(error, "os_error", error), AddressRefusedError)
            kind = LangfuseAddressRefusedError if refused else LangfuseAwayError
            raise kind(f"{self.url} cannot be reached: {type(error).__name__}") from error
        if answer.status in (401, 403):
            raise LangfuseRefusesKeysError(f"{self.url} answers {answer.status}")
        if answer.status >= 500 or answer.status == 429:
            raise LangfuseAwayError(f"{self.url} answers {answer.status}")
        told = _parsed(body)
        if answer.status not in (200, 202) or not isinstance(told, dict):
            raise LangfuseNotUnderstoodError(f"{self.url} answers {answer.status}, or no JSON object")
        return told

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        keys = base64.b64encode(f"{self.public_key}:{self.secret_key}".encode()).decode()
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Basic {keys}"},
            connector=self.egress.connector(limit=2),
            timeout=aiohttp.ClientTimeout(total=self.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            yield session


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    try:
        await answer.content.readexactly(_MOST_BYTES + 1)
    except asyncio.IncompleteReadError as whole:
        return whole.partial
    raise LangfuseNotUnderstoodError(f"an answer is larger than {_MOST_BYTES} bytes")


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
