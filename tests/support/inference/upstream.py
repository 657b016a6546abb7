"""A small upstream that answers as it is told, well or badly."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web


@dataclass(frozen=True)
class Act:
    """One answer: status, headers, body in parts, and how it ends."""

    parts: tuple[bytes, ...] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})
    ending: Literal["proper", "abort", "abort_when_heard", "silence"] = "proper"


def refusal(status: int, message: str, **headers: str) -> Act:
    """An error answer in OpenAI's form."""
    body = json.dumps({"error": {"message": message, "type": "some_error", "param": "temperature"}}).encode()
    return Act(parts=(body,), status=status, headers={"content-type": "application/json", **headers})


def said(
    words: Iterable[str],
    *,
    finish: str | None = "stop",
    usage: dict[str, int] | None = None,
    done: bool = True,
) -> tuple[bytes, ...]:
    """The events of a chat stream that says these words."""
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    ]
    chunks += [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
    chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}] if finish else []
    chunks += [{"choices": [], "usage": usage}] if usage else []
    return tuple(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + (
        (b"data: [DONE]\n\n",) if done else ()
    )


class Upstream:
    """Plays its acts one request after the other, the last one for ever, and remembers
    what it was asked.
    """

    def __init__(self, *acts: Act) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.hung_up = asyncio.Event()
        """The client closed a silent connection."""
        self.heard = asyncio.Event()
        """Set by a test that has received what came so far: a connection cut at once
        may take it along.
        """
        self._acts = deque(acts)
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Upstream"]:
        """Serves on a free port."""
        app = web.Application()
        app.router.add_post("/v1/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            self._ended.set()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.authorizations.append(request.headers.get("authorization"))
        act = self._acts.popleft() if len(self._acts) > 1 else self._acts[0]
        response = web.StreamResponse(status=act.status, headers=act.headers)
        if act.ending == "abort" and not act.parts:
            self._abort(request)
            return response
        await response.prepare(request)
        for part in act.parts:
            await response.write(part)
        if act.ending == "abort_when_heard":
            await self.heard.wait()
        if act.ending.startswith("abort"):
            self._abort(request)
        elif act.ending == "silence":
            await self._be_silent()
        return response

    async def _be_silent(self) -> None:
        try:
            await self._ended.wait()
        except asyncio.CancelledError:
            self.hung_up.set()
            raise

    @staticmethod
    def _abort(request: web.Request) -> None:
        if request.transport:
            request.transport.abort()
