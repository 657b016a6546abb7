"""The gateway's wiring, and nothing else."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp

from schemas.inference import Lane
from schemas.topics import (
    IDEMPOTENCY_CLAIMS,
    REPLIES,
    STATUS_TOPIC,
    inbox_partition,
    requests_topic,
)
from services.common.bus.consumers.consumer import Tail
from services.common.bus.consumers.log_scan import LogScans
from services.common.bus.producers.counting import CountingProducer
from services.common.bus.producers.producer import Producer
from services.common.clock import monotonic_s, utc_now
from services.common.control.access.key_uses import KeyUses
from services.common.control.authentication import KeyChecker
from services.common.control.reader import ControlReader
from services.common.http.access_log import AccessLogMiddleware
from services.common.http.authentication import Authenticator
from services.common.http.operations import operations_router
from services.common.http.protocol import HttpConfig, HttpLimits
from services.common.http.responses import answer_problems, crash_response
from services.common.http.server import EmbeddedServer
from services.common.process import metrics
from services.common.process.health import HealthState
from services.common.requests.masking.masker import Masker, masking_child
from services.common.requests.masking.recording import TextRecording, stored_text
from services.common.requests.model_catalogue import load_models
from services.common.requests.pricing import PriceList
from services.common.requests.request_finder import RequestFinder
from services.common.requests.shared_room import SharedRoom
from services.gateway.admission.gate import Gate
from services.gateway.admission.inspection.wiring import make_inspector
from services.gateway.admission.masking.protector import Protector
from services.gateway.budgets.wiring import make_budgets
from services.gateway.bus.bus_clock import BusClock
from services.gateway.bus.ends import EndPublisher
from services.gateway.bus.monitor import BusMonitor
from services.gateway.bus.publisher import RequestPublisher
from services.gateway.bus.request_maker import RequestMaker
from services.gateway.handlers import Serving
from services.gateway.http.console_proxy import ConsolePaths, ConsoleProxy
from services.gateway.http.cross_origin import CrossOrigin
from services.gateway.http.fast_path import FastPath
from services.gateway.http.openapi import document
from services.gateway.http.raw_route import RawRoute
from services.gateway.http.routes.completions import completions_router
from services.gateway.http.routes.feedback import feedback_router
from services.gateway.http.routes.models import models_router
from services.gateway.http.routes.platform import platform_router
from services.gateway.http.routes.requests import requests_router
from services.gateway.http.routes.responses import responses_router
from services.gateway.limits.wiring import make_limits
from services.gateway.openai.catalogue import Catalogue
from services.gateway.settings import Settings
from services.gateway.streams.idempotency.claims import Claims
from services.gateway.streams.idempotency.keys import IdempotencyKeys, idempotency_secret
from services.gateway.streams.queue_positions import QueuePositions
from services.gateway.streams.reader import ReaderPool, ReplyReader
from services.gateway.streams.reattach import Reattacher
from services.gateway.streams.registry import StreamRegistry
from services.gateway.streams.watchdog import Watchdog


def make_serving(settings: Settings) -> Serving:
    """All parts of a gateway, joined but not started.

    Raises:
        ConfigError: a setting or the models file cannot be used.
    """
    url, name = settings.kafka_url, f"gateway-{settings.instance}"
    models_file = Path(settings.models_file)
    models = load_models(models_file)
    health = HealthState()
    control = ControlReader(url, name, health)
    reader = ReplyReader(url, f"{name}-replies")
    bus_monitor = BusMonitor(
        Tail(url, f"{name}-watch", topic=REPLIES.name),
        health,
        [requests_topic(model.name, Lane(lane)) for model in models for lane in model.lanes],
    )
    publisher = RequestPublisher(
        Producer(url, name, timeout_s=settings.ack_timeout_s),
        bus_monitor,
        BusClock(utc_now, monotonic_s),
        settings.ack_timeout_s,
    )
    queue_positions = QueuePositions(Tail(url, f"{name}-queues", topic=STATUS_TOPIC.name))
    registry = StreamRegistry(
        settings,
        publisher,
        queue_positions,
        monotonic_s,
        lambda tenant: control.state.share_of(tenant),  # noqa: PLW0108  each change makes another state
    )
    watchdog = Watchdog(
        registry,
        publisher,
        bus_monitor,
        queue_positions,
        reader.pauses,
        silence_s=settings.silence_s,
        clock=utc_now,
        monotonic=monotonic_s,
        control=lambda: control.state,
    )
    scans = LogScans(url, name)
    readers = ReaderPool(reader, bus_monitor)
    limits, usage_exchange, risks = make_limits(settings, models, control, publisher)
    prices = PriceList({model.name: model.price for model in models}, lambda: control.state)
    catalogue = Catalogue(models, created=int(models_file.stat().st_mtime))
    budgets, warner = make_budgets(settings, catalogue, control, prices, usage_exchange)
    masker = Masker(masking_child(settings.inspect_patience_ms / 1000))
    ends = EndPublisher(
        CountingProducer(url, f"{name}-ends", timeout_s=settings.ack_timeout_s),
        prices,
        TextRecording(lambda tenant: stored_text(control.state, tenant, settings.store_text), masker),
        utc_now,
        settings.max_in_flight,
    )
    inspector = make_inspector(settings, lambda: control.state, health)
    return Serving(
        settings=settings,
        health=health,
        catalogue=catalogue,
        control=control,
        keys=Authenticator(
            control,
            KeyChecker(settings.key_pepper.get_secret_value()),
            settings.token_checker(monotonic_s),
            settings.proxy_networks,
            KeyUses(publisher.producer.send),
        ),
        bus_monitor=bus_monitor,
        publisher=publisher,
        ends=ends,
        readers=readers,
        registry=registry,
        watchdog=watchdog,
        reattacher=Reattacher(
            RequestFinder(scans, monotonic_s), readers, registry, publisher, settings.instance, monotonic_s
        ),
        console=ConsoleProxy(settings),
        idempotency=IdempotencyKeys(
            Tail(url, f"{name}-idempotency", topic=IDEMPOTENCY_CLAIMS.name),
            publisher.producer,
            scans,
            idempotency_secret(settings.key_pepper.get_secret_value()),
            publisher.bus_clock.now_ms,
            Claims(settings.idempotency_keys),
            SharedRoom(settings.max_recorded_bytes),
        ),
        requests=RequestMaker(
            settings, catalogue, publisher.bus_clock, lambda: control.state, lambda: reader.partition, utc_now
        ),
        gate=Gate(
            lambda: control.state,
            ends,
            registry,
            budgets,
            limits,
            inspector,
            Protector(lambda: control.state, masker, settings.key_pepper.get_secret_value()),
        ),
        inspector=inspector,
        limits=limits,
        usage_exchange=usage_exchange,
        risks=risks,
        budgets=budgets,
        warner=warner,
        clock=utc_now,
        monotonic=monotonic_s,
    )


def make_app(serving: Serving) -> AccessLogMiddleware:
    """The HTTP application."""
    app = FastAPI(
        title="Tocsin",
        version="1",
        description="Language models over a message bus, with OpenAI's API. Administration, costs and one's "
        "own matters: [/api/docs](/api/docs).",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    generating = (completions_router(serving), responses_router(serving))
    for router in (
        *generating,
        models_router(serving),
        requests_router(serving),
        feedback_router(serving),
        platform_router(serving),
        operations_router(serving.health),
    ):
        app.include_router(router)
    answer_problems(app)
    document(app, serving.catalogue.models)
    served: ASGIApp = FastPath(
        ConsolePaths(app, serving.console),
        [route for router in generating for route in router.routes if isinstance(route, RawRoute)],
    )
    on_crash: Callable[[str], ASGIApp] = crash_response
    if origins := serving.settings.origins:
        served = CrossOrigin(served, origins)
        on_crash = lambda path: CrossOrigin(crash_response(path), origins)  # noqa: E731  one of two
    return AccessLogMiddleware(
        served,
        on_crash,
        requests=metrics.GATEWAY_REQUESTS,
        seconds=metrics.GATEWAY_SECONDS,
    )


class Gateway:
    """The running gateway; see `services.common.process.runner.App`."""

    def __init__(self, serving: Serving) -> None:
        settings, self.serving, self.health = serving.settings, serving, serving.health
        self._server = EmbeddedServer(
            HttpConfig(
                make_app(self.serving),
                limits=HttpLimits(settings.max_head_bytes, settings.head_timeout_s, settings.write_timeout_s),
                host=settings.host,
                port=settings.port,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=int(settings.drain_timeout_s) + 5,
            )
        )

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return self._server.port

    async def start(self) -> None:
        """Listens at once, for /health; answers 503 until the bus is there and the keys
        are read.
        """
        serving = self.serving
        await self._server.start()
        await serving.control.start()
        reader = serving.readers.own
        partitions = await serving.control.tail.partitions(REPLIES.name)
        await reader.start(inbox_partition(serving.settings.instance, partitions))
        await serving.publisher.producer.start()
        await serving.ends.producer.start()
        await serving.usage_exchange.start()
        await serving.idempotency.start()
        await serving.risks.start()
        await serving.bus_monitor.start(reader.partition)
        await serving.publisher.warm_up(serving.settings.instance)
        await serving.inspector.start()

    async def run(self) -> None:
        """Serves until cancelled."""
        serving = self.serving
        async with asyncio.TaskGroup() as tasks:
            for work in (
                serving.readers,
                serving.control,
                serving.keys,
                serving.watchdog,
                serving.registry.queue_positions,
                serving.publisher,
                serving.bus_monitor,
                serving.usage_exchange,
                serving.idempotency,
                serving.risks,
                serving.budgets.follower,
                serving.warner,
                serving.inspector,
                serving.ends,
            ):
                tasks.create_task(work.run())
            if serving.limits.shared is not None:
                tasks.create_task(serving.limits.shared.run())

    async def drain(self) -> None:
        """Accepts no more connections and waits until every client has its answer."""
        self._server.should_exit = True
        await self.serving.registry.idle()

    async def close(self) -> None:
        """Ends what is left, tells the bus what is to be cancelled, disconnects."""
        serving = self.serving
        serving.registry.fail_all(
            "The gateway is stopping. Reattach to the stream at another gateway, or send the request again."
        )
        await self._server.close()
        serving.watchdog.close()
        serving.registry.settle_all()
        await serving.idempotency.close()
        await serving.usage_exchange.close()
        await serving.risks.close()
        await serving.budgets.follower.close()
        await serving.warner.close()
        if serving.limits.shared is not None:
            await serving.limits.shared.close()
        await serving.publisher.close()
        await serving.publisher.producer.close()
        await serving.ends.close()
        await serving.ends.texts.close()
        await serving.reattacher.finder.scans.close()
        await serving.readers.own.close()
        await serving.bus_monitor.close()
        await serving.control.close()
        await serving.console.close()


def build(settings: Settings) -> Gateway:
    """Wires the service.

    Raises:
        ConfigError: the models file is wrong.
    """
    return Gateway(make_serving(settings))
