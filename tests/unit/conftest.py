"""Unit tests touch no network: what needs a socket belongs to tests/integration or
tests/contract.
"""

from collections.abc import Iterator

import pytest
import pytest_socket


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    """Refuses every socket but the unix ones that asyncio itself needs."""
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()
