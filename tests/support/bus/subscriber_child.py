"""A consumer of events as a process that kills itself between an effect and its commit:
`python -m tests.support.bus.subscriber_child URL TOPIC GROUP EFFECTS KILL_AFTER`.

Its effect is a line for each event in the file EFFECTS. It kills itself when it has
handled KILL_AFTER events, 0 for never; SIGTERM drains it.
"""

import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.topics import FEEDBACK
from services.common.bus import Producer
from services.common.bus.dead_letters.dead_letter import DeadLetters
from services.common.bus.subscriber import Event, Subscriber, Subscription
from services.common.process.health import HealthState


async def _run(url: str, topic: str, group: str, effects: Path, kill_after: int) -> None:
    handled = 0

    async def handle(events: Sequence[Event[Any]]) -> None:
        nonlocal handled
        with effects.open("a") as file:
            file.writelines(f"{event.record.partition} {event.record.offset}\n" for event in events)
        handled += len(events)
        if kill_after and handled >= kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    producer = Producer(url, group)
    subscriber = Subscriber(
        url,
        group,
        dead_letters=DeadLetters(producer, group),
        health=HealthState(),
        session_timeout_s=3.0,
    )
    subscriber.add(Subscription(dataclasses.replace(FEEDBACK, name=topic), handle, group, batch=20))
    await producer.start()
    await subscriber.start()
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, lambda: tasks.append(asyncio.create_task(subscriber.drain()))
    )
    tasks: list[asyncio.Task[None]] = []
    await subscriber.run()
    await asyncio.gather(*tasks)
    await producer.close()


if __name__ == "__main__":
    _url, _topic, _group, _effects, _kill_after = sys.argv[1:]
    asyncio.run(_run(_url, _topic, _group, Path(_effects), int(_kill_after)))
