"""What the other services' /ready say."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

_ANSWER_S = 1.5
_MAX_BYTES = 256 * 1024


@dataclass
class ServiceHealth:
    """Asks services for their health, all at once; one that does not answer is away."""

    targets: Mapping[str, str]
    _session: aiohttp.ClientSession | None = field(default=None, init=False)

    async def read(self) -> dict[str, Any]:
        """Each service's state by name: ready, not_ready or away, and the state of what
        it depends on.
        """
        answers = await asyncio.gather(*(self._ask(url) for url in self.targets.values()))
        return dict(zip(self.targets, answers, strict=True))

    async def close(self) -> None:
        """Disconnects."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, url: str) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_ANSWER_S), cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with self._session.get(f"{url}/ready", allow_redirects=False) as response:
                body = await response.content.read(_MAX_BYTES)
                told = orjson.loads(body) if response.status in (200, 503) else None
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError):
            told = None
        return _describe(told)


def _describe(told: Any) -> dict[str, Any]:
    if not isinstance(told, dict):
        return {"state": "away", "dependencies": {}}
    named = told.get("dependencies")
    dependencies = {
        str(name): "ok" if isinstance(one, dict) and one.get("ok") is True else "failed"
        for name, one in (named.items() if isinstance(named, dict) else ())
    }
    return {"state": "ready" if told.get("ready") is True else "not_ready", "dependencies": dependencies}
