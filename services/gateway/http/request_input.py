"""A call: what an HTTP request asks for, wishes in headers, who answers it, and the news
that the client has left.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import Receive

from schemas.envelope import parse_traceparent
from schemas.inference import InferenceRequested
from services.common.control.principal import Principal
from services.common.http.access_log import bind_answer_headers, bind_log_fields
from services.common.http.problems import malformed
from services.common.process.telemetry import new_traceparent
from services.gateway.problems import risk_headers
from services.gateway.streams.registry import StreamRegistry
from services.gateway.streams.reply_stream import ReplyStream

_WATCH_AFTER_S = 0.25
"""Whole answers mostly come sooner; a client that leaves in that time is noticed at the
latest when the answer is written.
"""


@dataclass(frozen=True, slots=True)
class Call:
    """What a client asks for. `make` makes its requests, new ones each time; what was
    begun goes on for `window_s` once the client has left.
    """

    request: Request
    caller: Principal
    body: BaseModel
    make: Callable[[], list[InferenceRequested]]
    traceparent: str | None
    window_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers a call. The requests go on for `window_s` once the client has left."""

    reply_streams: Sequence[ReplyStream]
    window_s: float
    placed: bool = True
    """Whether its chunks lie in the log, where the stream can be taken up again."""

    def release(self, registry: StreamRegistry) -> None:
        """Gives the reply streams back; what still runs is cancelled, after the window."""
        for reply_stream in self.reply_streams:
            registry.release(reply_stream, window_s=self.window_s)

    @contextlib.contextmanager
    def whole(self, registry: StreamRegistry, receive: Receive) -> Iterator[None]:
        """While the answer is gathered: notices when the client leaves, and gives the
        reply streams back.
        """
        try:
            with watched_for_leaving(receive, *self.reply_streams, after_s=_WATCH_AFTER_S):
                yield
        finally:
            self.release(registry)


def resume_window_s(request: Request, longest_s: float) -> float:
    """How long a client that loses its connection may take to come back, by its
    `x-resume-window` header.

    Raises:
        ProblemError: 400, the header is no number of seconds.
    """
    text = request.headers.get("x-resume-window")
    if text is None:
        return 0.0
    try:
        window_s = float(text)
    except ValueError:
        window_s = -1.0
    if not 0 <= window_s < float("inf"):
        raise malformed(
            f"x-resume-window is {text[:40]!r}; it must be a number of seconds.", "x-resume-window"
        )
    return min(window_s, longest_s)


def traceparent_of(request: Request) -> str:
    """The caller's trace context, or a new one."""
    return parse_traceparent(request.headers.get("traceparent")) or new_traceparent()


def bind_answer(request: Request, reply_stream: ReplyStream, *, stream: bool) -> None:
    """Names the request in the log's line, and its limits in the answer's headers."""
    asked = reply_stream.request
    bind_answer_headers(request.scope, (*reply_stream.admitted.headers, *risk_headers([asked])))
    bind_log_fields(request.scope, request_id=asked.request_id, model=asked.model, stream=stream)


@contextlib.contextmanager
def watched_for_leaving(receive: Receive, *reply_streams: ReplyStream, after_s: float) -> Iterator[None]:
    """Tells the reply streams when the client closes the connection.

    Looks only after `after_s`: most answers are there sooner.
    """
    watching: list[asyncio.Task[None]] = []
    timer = asyncio.get_running_loop().call_later(
        after_s, lambda: watching.append(asyncio.create_task(_wait_for_leaving(receive, reply_streams)))
    )
    try:
        yield
    finally:
        timer.cancel()
        for task in watching:
            task.cancel()


async def _wait_for_leaving(receive: Receive, reply_streams: tuple[ReplyStream, ...]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    for reply_stream in reply_streams:
        reply_stream.leave()
