"""A process that sends ends until it is killed:
`python -m tests.support.bus.end_sender URL NAME`. It prints the id of each that Kafka has acknowledged.
"""

import asyncio
import sys

from schemas.inference import Outcome
from schemas.topics import COMPLETED
from services.common.bus import Outgoing
from services.common.bus.producers.counting import CountingProducer
from tests.support.analyzer.recording import completed

_AT_ONCE = 64


async def main(url: str, name: str) -> None:
    """Sends for ever, many at once."""
    producer = CountingProducer(url, name, timeout_s=60)
    await producer.start()

    async def send(first: int) -> None:
        number = first
        while True:
            event = completed(number, request_id=f"{name}-{number:08}", outcome=Outcome.BLOCKED)
            await producer.send(
                Outgoing(COMPLETED.name, event, subject=event.request_id, tenant=event.tenant)
            )
            sys.stdout.write(event.request_id + "\n")
            sys.stdout.flush()
            number += _AT_ONCE

    await asyncio.gather(*map(send, range(_AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
