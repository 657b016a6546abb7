"""The security role: its consumers, its producer, its model."""

import asyncio

import structlog

from schemas.topics import COMPLETED, OBSERVATIONS
from services.analyzer.security.bus_state_log import BusStateLog
from services.analyzer.security.domain.inspection import Wanted
from services.analyzer.security.domain.population import Rules
from services.analyzer.security.handlers import BehaviourWatcher, RequestWatcher
from services.analyzer.security.inspector import Inspector
from services.analyzer.security.partition_state import PartitionState
from services.analyzer.settings import Settings
from services.common.bus import Producer
from services.common.bus.consumers.events import send_all
from services.common.bus.dead_letters.dead_letter import DeadLetters, TooManyInvalidError
from services.common.bus.subscriber import Subscriber, Subscription
from services.common.bus.subscriber.asyncapi import Document
from services.common.control.reader import ControlReader
from services.common.control.thresholds import Thresholds, parse_thresholds, thresholds_for
from services.common.errors import HaltError
from services.common.process.health import Reporter

log = structlog.get_logger(__name__)

_AT_ONCE = 100
"""Requests that are looked at before they are committed: looking may take a second each."""
_SEND_TIMEOUT_S = 30.0


class SecurityRole:
    """Attacks and leaks in what is asked and answered, and suspicious behaviour."""

    def __init__(self, settings: Settings, health: Reporter) -> None:
        name = f"security-{settings.instance}"
        self._health = health
        self._draining = asyncio.Event()
        self._default = parse_thresholds(settings.risk_thresholds)
        self._producer = Producer(settings.kafka_url, name)
        self._control = ControlReader(settings.kafka_url, name)
        self._inspector = Inspector(self._wanted, settings.security_cpu_share)
        self._subscriber = Subscriber(
            settings.kafka_url,
            name,
            dead_letters=DeadLetters(self._producer, "security"),
            health=health,
            session_timeout_s=settings.consumer_session_timeout_s,
        )
        rules = Rules(settings.limits_risk_half_life_s, settings.security_subjects)
        group = f"{settings.security_group}-behaviour"
        requests = RequestWatcher(
            self._inspector, lambda records: send_all(self._producer, records, _SEND_TIMEOUT_S)
        )
        self._behaviour = BehaviourWatcher(
            lambda partition: PartitionState(
                partition,
                BusStateLog(settings.kafka_url, group, partition),
                rules,
                self._thresholds,
            )
        )
        for one in security_subscriptions(requests, self._behaviour, settings.security_group):
            self._subscriber.add(one)

    async def start(self) -> None:
        """Loads the model, reads the tenants' policies and joins the groups.

        Raises:
            BusUnavailableError: no broker, or a topic is not there.
            ConfigError: the model is not whole.
        """
        await self._inspector.start()
        await self._producer.start()
        await self._control.start()
        await self._subscriber.start()

    async def run(self) -> None:
        """Watches until told to stop, or until most of what comes is unusable: then it
        halts alone, since recording must not depend on it.

        Raises:
            Exception: any other failure of a consumer, or of what follows the policies.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(self._control.run())
                await self._watch()
                following.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def drain(self) -> None:
        """Finishes what was taken, and takes no more."""
        self._draining.set()
        await self._subscriber.drain()

    async def close(self) -> None:
        """Lets go of everything."""
        await self._subscriber.close()
        await self._behaviour.close()
        await self._control.close()
        await self._producer.close()
        await self._inspector.close()

    def asyncapi(self) -> Document | None:
        """What FastStream says of its consumers."""
        return self._subscriber.asyncapi()

    async def _watch(self) -> None:
        try:
            await self._subscriber.run()
        except (HaltError, TooManyInvalidError) as error:
            log.critical("security_halted", error=str(error))
            self._health.report("watching", ok=False, detail=str(error))
            await self._subscriber.close()
            await self._draining.wait()

    def _wanted(self, tenant: str) -> Wanted:
        """What the tenant's policy lets be looked at."""
        policy = self._control.state.policy_of(tenant)
        return Wanted(
            policy.prompt_attacks != "off",
            policy.scan_output,
            self._thresholds(tenant),
            policy.output_leaks,
            policy.output_personal,
        )

    def _thresholds(self, tenant: str) -> Thresholds:
        return thresholds_for(self._control.state, tenant, self._default)


def security_subscriptions(
    requests: RequestWatcher, behaviour: BehaviourWatcher, group: str
) -> tuple[Subscription, ...]:
    """How the role consumes. Nothing is remembered of what was given: the state itself knows
    which observations it has had, also where it must read them again.
    """
    return (
        Subscription(COMPLETED, requests.on_inference_completed, group, batch=_AT_ONCE, remembered=0),
        Subscription(OBSERVATIONS, behaviour.on_requests_observed, f"{group}-behaviour", remembered=0),
    )
