"""A service's life: build, start, ready, run, drain, close.

SIGTERM or SIGINT drains: the service stops taking work and finishes what it has, for at
most `drain_timeout_s`; a second signal exits at once.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

import structlog
import uvloop

from services.common.errors import ConfigError
from services.common.process.health import HealthServer, HealthState
from services.common.process.interpreter import collect_less
from services.common.process.settings import CommonSettings
from services.common.process.telemetry import configure_logging, configure_tracing

log = structlog.get_logger(__name__)
Settings = TypeVar("Settings", bound=CommonSettings)


class App(Protocol):
    """What a service must offer."""

    health: HealthState

    async def start(self) -> None:
        """Connects to what it depends on. Waits, bounded, for what is not there yet."""

    async def run(self) -> None:
        """Works until cancelled; returning or raising ends the process."""

    async def drain(self) -> None:
        """Takes nothing new and finishes what it has begun."""

    async def close(self) -> None:
        """Lets go of everything; called whatever happened before."""


def run_service(name: str, build: Callable[[Settings], App], load: Callable[[], Settings]) -> None:
    """Runs a service in this process until it is told to stop, then exits: 0 after a
    signal, 1 after a failure, 2 for a wrong setting.
    """
    try:
        settings = load()
        configure_logging(name, settings)
        configure_tracing(name, settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            failed = runner.run(_live(name, build(settings), settings))
    except ConfigError as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201  logging may be what is misconfigured
        sys.exit(2)
    sys.exit(1 if failed else 0)


async def _live(name: str, app: App, settings: CommonSettings) -> bool:
    """One life; True if it ended by a failure."""
    stop = _stop_on_signals(name)
    server = HealthServer(app.health, settings.host, settings.health_port)
    stopping = asyncio.create_task(stop.wait())
    failed = False
    try:
        await server.start()
        working = asyncio.create_task(_work(app))
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        failed = working.done() and not stop.is_set()
        app.health.draining = True
        if not working.done():
            await _drain(name, app, settings.drain_timeout_s)
            working.cancel()
        await _outcome(name, working)
    finally:
        stopping.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(app.close(), settings.drain_timeout_s)
        await server.close()
        log.info("service_stopped", service=name, failed=failed)
    return failed


async def _work(app: App) -> None:
    await app.start()
    collect_less()
    app.health.started = True
    await app.run()


async def _drain(name: str, app: App, timeout_s: float) -> None:
    log.info("service_draining", service=name)
    try:
        await asyncio.wait_for(app.drain(), timeout_s)
    except TimeoutError:
        log.warning("drain_timed_out", service=name, timeout_s=timeout_s)


async def _outcome(name: str, working: "asyncio.Task[None]") -> None:
    try:
        await working
    except asyncio.CancelledError:
        return
    except ConfigError:
        raise
    except Exception as error:
        log.exception("service_failed", service=name, error=str(error))


def _stop_on_signals(name: str) -> asyncio.Event:
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            log.warning("second_signal", service=name, signal=number)
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop
