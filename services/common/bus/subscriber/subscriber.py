"""The FastStream broker behind a service's subscriptions, and its life."""

import asyncio
import contextlib
import copy
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRecord
from faststream import AckPolicy, BaseMiddleware, ContextRepo
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaAckableMessage
from faststream.message import StreamMessage
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from faststream.specification import AsyncAPI

from services.common.bus.administration.admin import committed_offsets
from services.common.bus.administration.inspection import partition_counts
from services.common.bus.connecting import start_driver
from services.common.bus.coordinates import CommittedOffset, TopicPartition
from services.common.bus.dead_letters.dead_letter import DeadLetterSink
from services.common.bus.log_rate_limit import limit_log_rate
from services.common.bus.subscriber.delivery import Delivery, Event
from services.common.bus.subscriber.subscription import Consumption, Subscription
from services.common.clock import Clock, utc_now
from services.common.errors import BusUnavailableError
from services.common.process.health import Reporter
from services.common.process.kafka_address import connection_options
from services.common.retry import retry

_POLL_MS = 100
_TICK_S = 1.0


class Subscriber:
    """A service's consumers of events, one a subscription, as
    `services.common.process.runner` runs them.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        dead_letters: DeadLetterSink,
        health: Reporter,
        clock: Clock = utc_now,
        session_timeout_s: float = 6.0,
        drain_timeout_s: float = 15.0,
        start_timeout_s: float = 60.0,
    ) -> None:
        self._url = url
        self._name = name
        self._dead_letters = dead_letters
        self._health = health
        self._clock = clock
        self._session_timeout_s = session_timeout_s
        self._start_timeout_s = start_timeout_s
        self._consumptions: dict[tuple[str, str], Consumption] = {}
        self._failure: Exception | None = None
        self._ended = asyncio.Event()
        options = connection_options(url)
        self._broker = KafkaBroker(
            options["bootstrap_servers"],
            security=_security(options),
            client_id=name,
            consumer_only=True,
            allow_auto_create_topics=False,
            metadata_max_age_ms=30_000,
            ack_policy=AckPolicy.MANUAL,
            graceful_timeout=drain_timeout_s,
            middlewares=(functools.partial(_DeliveryMiddleware, consumptions=self._consumptions),),
            apply_types=False,
            logger=None,
        )

    def add(self, subscription: Subscription) -> None:
        """Consumes a topic for a group, once started."""
        consumption = Consumption(
            subscription,
            Delivery(
                subscription.topic,
                subscription.group,
                self._dead_letters,
                self._health,
                subscription.share,
                subscription.attempts,
                subscription.remembered,
            ),
            self._clock,
            self._fail,
            committed=functools.partial(self._committed, subscription.group),
        )
        reader = self._broker.subscriber(
            subscription.topic.name,
            batch=True,
            max_records=subscription.batch,
            batch_timeout_ms=_POLL_MS,
            group_id=subscription.group,
            listener=consumption,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=int(self._session_timeout_s * 1000),
            heartbeat_interval_ms=int(self._session_timeout_s * 1000 / 4),
            rebalance_timeout_ms=10_000,
            max_poll_interval_ms=600_000,
            parser=_parse,
            decoder=_decode,
            no_reply=True,
            title=f"{subscription.group}:{subscription.topic.name}",
            description=subscription.topic.summary,
        )
        consumption.driver = lambda: reader.consumer
        self._consumptions[subscription.group, subscription.topic.name] = consumption
        reader(_entry_point(subscription))

    async def start(self) -> None:
        """Joins the groups, waiting for a broker that is not there yet.

        Raises:
            BusUnavailableError: no broker in time, or a topic is not there: one
                that is created by asking for it would have a single partition.
        """
        limit_log_rate()
        await retry(self._connect, timeout_s=self._start_timeout_s)
        self._health.report("consumer", ok=True)

    async def run(self) -> None:
        """Consumes until told to stop.

        Raises:
            TooManyInvalidError: most events of a topic were set aside.
            ConfigError: a handler cannot work as it is set up.
            HaltError: a handler must not go on.
        """
        while not self._ended.is_set():
            for consumption in self._consumptions.values():
                await consumption.observe()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _TICK_S)
        if self._failure is not None:
            raise self._failure

    async def drain(self) -> None:
        """Finishes the batches under way, commits them, and leaves the groups."""
        for consumption in self._consumptions.values():
            consumption.stopping = True
        await self._broker.stop()
        self._ended.set()

    async def close(self) -> None:
        """Leaves, whatever was under way."""
        for consumption in self._consumptions.values():
            consumption.stopping = True
        await self._broker.stop()

    def holds_any(self, subscription: Subscription) -> bool:
        """Whether this member of the group has partitions of the topic now."""
        return self._consumptions[subscription.group, subscription.topic.name].holds_any

    def asyncapi(self) -> dict[str, Any]:
        """What FastStream's generator says of these consumers: an AsyncAPI 3 document."""
        document = AsyncAPI(self._broker, title=self._name, version="1.0.0").to_specification()
        return dict(document.to_jsonable())

    async def _committed(self, group: str, place: TopicPartition) -> CommittedOffset | None:
        return (await committed_offsets(self._url, group)).get(place)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._health.report("consumer", ok=False, detail=str(error))
        self._ended.set()

    async def _connect(self) -> None:
        wanted = {one.subscription.topic.name for one in self._consumptions.values()}
        if missing := sorted(wanted - set(await partition_counts(self._url))):
            raise BusUnavailableError(
                f"the topics {', '.join(missing)} are not there; `tocsin topics` creates them"
            )
        await start_driver(self._url, self._broker.start, self._broker.stop)


class _DeliveryMiddleware(BaseMiddleware[Any, Any]):
    """Puts the delivery around the handler: attempts, halves, dead letters, commit."""

    def __init__(
        self, msg: Any, /, *, context: ContextRepo, consumptions: Mapping[tuple[str, str], Consumption]
    ) -> None:
        super().__init__(msg, context=context)
        self._consumptions = consumptions

    async def consume_scope(
        self, call_next: Callable[[Any], Awaitable[Any]], msg: StreamMessage[Any]
    ) -> None:
        """Gives the batch, or parts of it, to the handler, as often as it takes."""
        group = self.context.get_local("handler_").group_id

        async def give(events: Sequence[Event[Any]]) -> None:
            part = copy.copy(msg)
            part.body = events
            await call_next(part)

        await self._consumptions[group, msg.raw_message[0].topic].consume(msg.raw_message, give)


async def _parse(records: tuple[ConsumerRecord, ...]) -> KafkaAckableMessage:
    """FastStream's own parser decodes every header as UTF-8: one record with another
    fails the batch, which is then read past.
    """
    return KafkaAckableMessage(
        raw_message=records, body=(), message_id=str(records[0].offset), consumer=FAKE_CONSUMER
    )


async def _decode(msg: KafkaAckableMessage) -> Any:
    return msg.body


def _entry_point(subscription: Subscription) -> Callable[[Any], Awaitable[None]]:
    """The handler as FastStream calls it; its annotation is for AsyncAPI."""

    async def entry_point(events: Any) -> None:
        await subscription.handler(events)

    entry_point.__name__ = f"{subscription.group}_{subscription.topic.name}".replace(".", "_")
    entry_point.__doc__ = subscription.topic.summary
    entry_point.__annotations__["events"] = list[subscription.topic.model._type]  # type: ignore[name-defined]  # noqa: SLF001  pydantic keeps it there
    return entry_point


def _security(options: Mapping[str, Any]) -> BaseSecurity | None:
    """Our way to log in, as FastStream takes it."""
    context = options.get("ssl_context")
    if mechanism := options.get("sasl_mechanism"):
        return _SASL[mechanism](
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=context,
            use_ssl=context is not None,
        )
    return BaseSecurity(ssl_context=context, use_ssl=True) if context is not None else None


_SASL = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
