"""The start of a connection to Kafka, of whichever driver."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiokafka.errors import KafkaConnectionError, KafkaError

from services.common.errors import BusUnavailableError
from services.common.process.kafka_address import without_password

_CONNECTING_S = 2.0


async def start_driver(
    url: str, start: Callable[[], Coroutine[Any, Any, object]], stop: Callable[[], Awaitable[object]]
) -> None:
    """Starts a driver. One that does not start is stopped, also where it is cancelled
    while it connects: then within two seconds, so that it closes what it has just opened
    (aiokafka leaves a connection open whose first question is cancelled).

    Raises:
        BusUnavailableError: no broker.
    """
    starting = asyncio.ensure_future(start())
    try:
        await asyncio.shield(starting)
    except (KafkaError, OSError) as error:
        await stop()
        why = "" if isinstance(error, KafkaConnectionError) else f": {error}"  # its text says nothing more
        raise BusUnavailableError(
            f"no Kafka at {without_password(url)}{why}; is it running, and is TOCSIN_KAFKA_URL right?"
        ) from error
    except BaseException:
        await asyncio.wait([starting], timeout=_CONNECTING_S)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await stop()
        raise
