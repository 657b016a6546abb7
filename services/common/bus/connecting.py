"""The start of a connection to Kafka, of whichever driver."""

from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaConnectionError, KafkaError

from services.common.errors import BusUnavailableError
from services.common.kafka_address import without_password


async def start_driver(
    url: str, start: Callable[[], Awaitable[object]], stop: Callable[[], Awaitable[object]]
) -> None:
    """Starts a driver. One that does not start is stopped, also where it is cancelled
    while it connects.

    Raises:
        BusUnavailableError: no broker.
    """
    try:
        await start()
    except (KafkaError, OSError) as error:
        await stop()
        why = "" if isinstance(error, KafkaConnectionError) else f": {error}"  # its text says nothing more
        raise BusUnavailableError(
            f"no Kafka at {without_password(url)}{why}; is it running, and is TOCSIN_KAFKA_URL right?"
        ) from error
    except BaseException:
        await stop()
        raise
