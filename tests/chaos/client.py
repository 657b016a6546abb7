"""A client that does not give up: it streams, reattaches with Last-Event-ID wherever a
gateway answers, and knows what it must have received in the end.
"""

import asyncio
import itertools
import json
import time
from dataclasses import dataclass, field

import aiohttp

from services.inference.engines.scripted import scripted_text

DISTURBED_S = 0.6
"""A pause between two pieces that an undisturbed stream does not make."""
_FAILURES = (aiohttp.ClientError, TimeoutError, ConnectionError)


@dataclass
class Stream:
    """What one client has.

    `pauses` are the seconds of each pause above `DISTURBED_S` after the first piece.
    """

    number: int
    tokens: int
    request_id: str = ""
    text: str = ""
    last_event_id: str = ""
    finished: bool = False
    error: str = ""
    refused: bool = False
    reattached: int = 0
    pauses: list[float] = field(default_factory=list)
    usage: dict[str, int] = field(default_factory=dict)
    """Tokens as the client is told them at the end."""
    _piece_s: float = 0.0

    @property
    def prompt(self) -> str:
        """What is asked; of its own for each stream."""
        return f"chaos {self.number}"

    @property
    def expected(self) -> str:
        """The very text that an undisturbed run gives."""
        return scripted_text(f"user: {self.prompt}", self.tokens, seed=self.number)

    @property
    def is_whole(self) -> bool:
        """Whether the client has exactly what it should have."""
        return self.finished and self.text == self.expected

    def take(self, piece: str) -> None:
        """A piece came."""
        now_s = time.monotonic()
        if self.text and now_s - self._piece_s > DISTURBED_S:
            self.pauses.append(now_s - self._piece_s)
        self._piece_s = now_s
        self.text += piece


class Client:
    """Streams from several gateways.

    `resume_window_s` keeps a request alive while its client is away.
    """

    def __init__(self, urls: list[str], key: str, model: str, *, resume_window_s: int = 300) -> None:
        self._urls = itertools.cycle(urls)
        self._headers = {"authorization": f"Bearer {key}", "x-resume-window": str(resume_window_s)}
        self._model = model

    async def __aenter__(self) -> "Client":
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=30),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def stream(self, number: int, *, tokens: int, patience_s: float = 300.0) -> Stream:
        """Asks once, and follows until the end, however often the connection breaks."""
        stream, end_s = Stream(number, tokens), time.monotonic() + patience_s
        await self._begin(stream)
        while stream.request_id and not stream.finished and not stream.error and time.monotonic() < end_s:
            await asyncio.sleep(0.1)
            await self._reattach(stream)
        return stream

    async def refusal(self, model: str) -> str:
        """Asks a model that is switched off; the id of the request that the gateway
        ended, empty where it gave no answer or could not record the end.
        """
        body = {"model": model, "messages": [{"role": "user", "content": "chaos"}]}
        try:
            async with self._session.post(f"{next(self._urls)}/chat/completions", json=body) as answer:
                return answer.headers["x-request-id"] if answer.status == 403 else ""
        except _FAILURES:
            return ""

    async def _begin(self, stream: Stream) -> None:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": stream.prompt}],
            "max_tokens": stream.tokens,
            "seed": stream.number,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        try:
            async with self._session.post(f"{next(self._urls)}/chat/completions", json=body) as answer:
                if answer.status != 200:
                    stream.refused = True
                    return
                stream.request_id = answer.headers["x-request-id"]
                await self._read(stream, answer)
        except _FAILURES:
            stream.refused = not stream.request_id

    async def _reattach(self, stream: Stream) -> None:
        headers = {"last-event-id": stream.last_event_id} if stream.last_event_id else {}
        try:
            async with self._session.get(
                f"{next(self._urls)}/streams/{stream.request_id}", headers=headers
            ) as answer:
                if answer.status == 200:
                    stream.reattached += 1
                    await self._read(stream, answer)
                elif answer.status not in (503, 502):
                    stream.error = f"reattaching: {answer.status} {(await answer.text())[:200]}"
        except _FAILURES:
            return

    async def _read(self, stream: Stream, answer: aiohttp.ClientResponse) -> None:
        event_id = ""
        async for line in answer.content:
            if line.startswith(b"id: "):
                event_id = line[4:].strip().decode()
            elif line.startswith(b"data: "):
                self._take(stream, line[6:].strip(), event_id)

    @staticmethod
    def _take(stream: Stream, data: bytes, event_id: str) -> None:
        if data == b"[DONE]":
            stream.finished = True
            return
        message = json.loads(data)
        if "error" in message:
            stream.error = str(message["error"].get("message"))[:200]
            return
        stream.last_event_id = event_id
        stream.usage = message.get("usage") or stream.usage
        for choice in message["choices"]:
            if choice["delta"].get("content"):
                stream.take(choice["delta"]["content"])
