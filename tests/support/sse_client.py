"""Reading server-sent events block by block, as a client that may break off does."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx


def blocks_of(text: str) -> list[tuple[str, str]]:
    """The id and the data of each event of a stream."""
    blocks = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            blocks.append((fields.get("id", ""), fields["data"]))
    return blocks


def text_of(blocks: list[tuple[str, str]], index: int = 0) -> str:
    """The text that a choice's chat chunks make."""
    choices = [
        choice for _, data in blocks if data != "[DONE]" for choice in json.loads(data).get("choices", ())
    ]
    return "".join(choice["delta"].get("content", "") for choice in choices if choice["index"] == index)


@dataclass
class OpenStream:
    """A stream that is being read."""

    response: httpx.Response
    blocks: list[tuple[str, str]] = field(default_factory=list)
    _lines: AsyncIterator[str] | None = None

    async def read(self, count: int | None = None) -> list[tuple[str, str]]:
        """Reads so many further blocks, or all that come."""
        self._lines = self._lines or self.response.aiter_lines()
        fresh: list[tuple[str, str]] = []
        event_id = ""
        async for line in self._lines:
            if line.startswith("id: "):
                event_id = line[4:]
            elif line.startswith("data: "):
                fresh.append((event_id, line[6:]))
                event_id = ""
                if len(fresh) == count:
                    break
        self.blocks += fresh
        return fresh

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.response.headers["x-request-id"]


@contextlib.asynccontextmanager
async def open_stream(
    client: httpx.AsyncClient, method: str, path: str, **more: Any
) -> AsyncIterator[OpenStream]:
    """Opens a stream; leaving the context closes the connection, finished or not."""
    async with client.stream(method, path, **more) as response:
        assert response.status_code == 200, await response.aread()
        yield OpenStream(response)
