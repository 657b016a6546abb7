"""The gateway's wiring, and nothing else."""

import asyncio
import gc
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from schemas.inference import Lane
from schemas.topics import CONTROL, REPLIES, STATUS_TOPIC, inbox_partition, requests_topic
from services.common.bus.consumer import Tail
from services.common.bus.producer import Producer
from services.common.clock import monotonic_s, utc_now
from services.common.health import EmbeddedServer, HealthState
from services.common.model_catalogue import load_models
from services.gateway.bus_watch import BusWatch
from services.gateway.catalogue import Catalogue
from services.gateway.edge import Edge
from services.gateway.handlers import Serving
from services.gateway.keeper import StreamKeeper
from services.gateway.key_table import KeyTable
from services.gateway.log_scan import LogScans
from services.gateway.outbox import Outbox
from services.gateway.queue_board import QueueBoard
from services.gateway.reattach import Reattacher
from services.gateway.replies import ReaderPool, ReplyReader
from services.gateway.routes.access import RawRoute, answer_problems, crash_response
from services.gateway.routes.completions import completions_router
from services.gateway.routes.documents import document
from services.gateway.routes.models import models_router
from services.gateway.routes.operations import operations_router
from services.gateway.routes.platform import platform_router
from services.gateway.routes.requests import requests_router
from services.gateway.settings import Settings
from services.gateway.shortcut import Shortcut


def make_serving(settings: Settings) -> Serving:
    """All parts of a gateway, joined but not started."""
    url, name = settings.kafka_url, f"gateway-{settings.instance}"
    models_file = Path(settings.models_file)
    models = load_models(models_file)
    health = HealthState()
    reader = ReplyReader(url, f"{name}-replies")
    watch = BusWatch(
        Tail(url, f"{name}-watch", topic=REPLIES.name),
        health,
        [requests_topic(model.name, Lane(lane)) for model in models for lane in model.lanes],
    )
    outbox = Outbox(Producer(url, name, timeout_s=settings.ack_timeout_s), watch, settings.ack_timeout_s)
    board = QueueBoard(Tail(url, f"{name}-queues", topic=STATUS_TOPIC.name))
    keeper = StreamKeeper(settings, outbox, watch, board, utc_now, monotonic_s)
    readers = ReaderPool(reader)
    return Serving(
        settings=settings,
        health=health,
        catalogue=Catalogue(models, created=int(models_file.stat().st_mtime)),
        keys=KeyTable(
            Tail(url, f"{name}-keys", topic=CONTROL.name), settings.key_pepper.get_secret_value(), health
        ),
        watch=watch,
        outbox=outbox,
        readers=readers,
        keeper=keeper,
        reattacher=Reattacher(
            LogScans(url, name), readers, keeper, outbox, models, settings.instance, utc_now, monotonic_s
        ),
        clock=utc_now,
        monotonic=monotonic_s,
    )


def make_app(serving: Serving) -> Edge:
    """The HTTP application."""
    app = FastAPI(
        title="Tocsin",
        version="1",
        description="Language models over a message bus, with OpenAI's API.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    completions = completions_router(serving)
    for router in (
        completions,
        models_router(serving),
        requests_router(serving),
        platform_router(serving),
        operations_router(serving.health),
    ):
        app.include_router(router)
    answer_problems(app)
    document(app)
    return Edge(
        Shortcut(app, [route for route in completions.routes if isinstance(route, RawRoute)]), crash_response
    )


class Gateway:
    """The running gateway; see `services.common.runner.App`."""

    def __init__(self, settings: Settings) -> None:
        self.serving = make_serving(settings)
        self.health = self.serving.health
        self._server = EmbeddedServer(
            uvicorn.Config(
                make_app(self.serving),
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                lifespan="off",
                http="httptools",
                ws="none",
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=int(settings.drain_timeout_s) + 5,
            )
        )

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listens at once, for /health; answers 503 until the bus is there and the keys
        are read.
        """
        serving = self.serving
        await self._server.start()
        await serving.keys.start()
        reader = serving.readers.own
        reader.partition = inbox_partition(
            serving.settings.instance, await serving.keys.tail.partitions(REPLIES.name)
        )
        await reader.start()
        await serving.outbox.producer.start()
        await serving.watch.start(reader.partition)
        await serving.outbox.warm_up()

    async def run(self) -> None:
        """Serves until cancelled."""
        serving = self.serving
        _spare_the_collector()
        async with asyncio.TaskGroup() as tasks:
            for work in (
                serving.readers,
                serving.keys,
                serving.keeper,
                serving.keeper.board,
                serving.outbox,
                serving.watch,
            ):
                tasks.create_task(work.run())

    async def drain(self) -> None:
        """Accepts no more connections and waits until every client has its answer."""
        self._server.should_exit = True
        await self.serving.keeper.idle()

    async def close(self) -> None:
        """Ends what is left, tells the bus what is to be cancelled, disconnects."""
        serving = self.serving
        serving.keeper.fail_all(
            "The gateway is stopping. Reattach to the stream at another gateway, or send the request again."
        )
        await self._server.close()
        await serving.outbox.close()
        await serving.outbox.producer.close()
        await serving.readers.own.close()
        await serving.watch.close()
        await serving.keys.close()


def _spare_the_collector() -> None:
    """What was made at the start stays for good: the collector need not walk through it
    again and again, a tenth of a request's time otherwise.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
