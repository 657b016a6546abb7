"""What names lead to, at the moment of connecting."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver

from services.common.process.egress import AddressRefusedError, Egress


class _PrivateName(AbstractResolver):
    """Every name leads to loopback."""

    asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[Any]:
        self.asked += 1
        where = {"hostname": host, "host": "127.0.0.1", "port": port}
        return [where | {"family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Nothing to close."""


async def test_name_that_leads_to_a_private_address_opens_no_connection() -> None:
    """Whatever it led to when somebody looked at it before: the address that is connected
    to decides.
    """
    reached = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    resolver = _PrivateName()
    async with (
        server,
        aiohttp.ClientSession(connector=Egress().connector(resolver=resolver)) as session,
    ):
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await session.get(f"http://rebound.example:{port}/")
    assert isinstance(refused.value.os_error, AddressRefusedError)
    assert (resolver.asked, reached.is_set()) == (1, False)
