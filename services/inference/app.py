"""The inference service: starts Ray or joins a cluster, deploys dispatchers and models
on Ray Serve, and watches the heartbeats.
"""

import asyncio
import math
import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass, field

import orjson
import ray
import structlog
from ray import serve

from schemas.inference import STATUS, Lane, Outcome, QueueStatus, ReplicaBeat
from schemas.topics import STATUS_TOPIC, model_slug
from services.common.bus import MessageReader, Record, Tail
from services.common.errors import ConfigError
from services.common.process import metrics
from services.common.process.health import HealthState
from services.common.requests.model_catalogue import ModelConfig, load_models
from services.inference import local_ray
from services.inference.deployments import dispatcher_application, model_application
from services.inference.settings import Settings

log = structlog.get_logger(__name__)

_FRESH_S = 1.5
_FINISHED = b'{"kind":"finished"'
RETRIED = "retried"
"""How an attempt counts that another one takes up."""
_DISPATCHER_CPUS = 0.1


@dataclass
class InferenceApp:
    """Keeps the deployments up, and knows from the bus who is alive."""

    settings: Settings
    models: tuple[ModelConfig, ...]
    health: HealthState = field(default_factory=HealthState)
    _replicas: dict[str, tuple[float, ReplicaBeat]] = field(default_factory=dict)
    _queues: dict[str, tuple[float, QueueStatus]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names = frozenset(model.name for model in self.models)
        self._status = Tail(
            url=self.settings.kafka_url, name=f"inference/{self.settings.instance}", topic=STATUS_TOPIC.name
        )
        self._reader = MessageReader(STATUS, STATUS_TOPIC.name)
        self.health.extra["/processes"] = self.processes

    async def start(self) -> None:
        """Deploys everything and waits until each model has a replica that beats."""
        await self._status.start()
        await asyncio.to_thread(self._deploy)
        _take_signals_back()

    async def run(self) -> None:
        """Follows heartbeats until cancelled."""
        while True:
            for record in await self._status.poll(timeout_s=0.5):
                self._on_status(record)
            self._report()

    async def drain(self) -> None:
        """Replicas finish what they have when Serve stops them, in `close`."""

    async def close(self) -> None:
        """Stops what this process started.

        On a cluster that was there before, the deployments stay.
        """
        await self._status.close()
        if not self.settings.ray_address:
            await asyncio.to_thread(local_ray.stop)

    def processes(self) -> list[dict[str, object]]:
        """The dispatchers and replicas that beat now."""
        fresh_s = time.monotonic() - _FRESH_S
        replicas: list[dict[str, object]] = [
            {
                "role": "replica",
                "name": beat.replica_id,
                "pid": beat.pid,
                "host": beat.host,
                "state": "draining" if beat.draining else "ready",
            }
            for seen_s, beat in self._replicas.values()
            if seen_s > fresh_s
        ]
        dispatchers: dict[int, dict[str, object]] = {}
        for seen_s, status in self._queues.values():
            if seen_s > fresh_s:
                entry = dispatchers.setdefault(
                    status.pid,
                    {
                        "role": "dispatcher",
                        "name": status.dispatcher_id,
                        "pid": status.pid,
                        "host": status.host,
                        "state": "standby",
                    },
                )
                entry["state"] = "active" if status.active else entry["state"]
        return [*dispatchers.values(), *replicas]

    def _deploy(self) -> None:
        settings = self.settings
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if settings.ray_address:
            ray.init(address=settings.ray_address, log_to_driver=False)
        else:
            log.info("ray_starting")
            local_ray.start(
                num_cpus=int(settings.ray_cpus) or _cpus_wanted(settings, self.models),
                gpus=any(one.num_gpus for one in self.models),
                temp_dir=settings.ray_temp_dir,
            )
        serve.start(proxy_location="Disabled")
        targets = [serve.RunTarget(dispatcher_application(settings, self.models), "dispatcher", None)]
        targets += [
            serve.RunTarget(model_application(settings, model), f"model-{model_slug(model.name)}", None)
            for model in self.models
        ]
        log.info("deploying", models=[model.name for model in self.models])
        serve.run_many(targets)
        log.info("deployed", models=[model.name for model in self.models])

    def _on_status(self, record: Record) -> None:
        if record.value is not None and record.value.startswith(_FINISHED):
            measure_finished(record.value, self._names)
            return
        status = self._reader.read(record)
        if isinstance(status, ReplicaBeat):
            self._replicas[status.replica_id] = (time.monotonic(), status)
            metrics.REPLICA_RUNNING.labels(status.model, status.replica_id).set(len(status.running))
            metrics.REPLICA_TOKENS_PER_SECOND.labels(status.model, status.replica_id).set(status.tokens_per_s)
        elif isinstance(status, QueueStatus):
            self._queues[status.dispatcher_id] = (time.monotonic(), status)
            if status.active:
                _measure_queue(status)

    def _report(self) -> None:
        """Says for each model whether it is served, and forgets who has gone."""
        now_s = time.monotonic()
        for replica_id, (seen_s, beat) in list(self._replicas.items()):
            if now_s - seen_s > 10 * _FRESH_S:
                del self._replicas[replica_id]
                metrics.REPLICA_RUNNING.remove(beat.model, replica_id)
                metrics.REPLICA_TOKENS_PER_SECOND.remove(beat.model, replica_id)
        self._queues = {name: seen for name, seen in self._queues.items() if now_s - seen[0] <= 10 * _FRESH_S}
        for model in self.models:
            replicas = [
                beat
                for seen_s, beat in self._replicas.values()
                if beat.model == model.name and now_s - seen_s <= _FRESH_S
            ]
            active = [
                status
                for seen_s, status in self._queues.values()
                if status.model == model.name and status.active and now_s - seen_s <= _FRESH_S
            ]
            self.health.report(
                f"model {model.name}",
                ok=bool(replicas and active),
                detail=f"{len(replicas)} replicas, {len(active)} active dispatchers",
            )


def build(settings: Settings) -> InferenceApp:
    """Wires the service.

    Raises:
        ConfigError: the models file is wrong.
    """
    models = load_models(settings.models_file)
    if not models:
        raise ConfigError(f"{settings.models_file} declares no model; add one, or set TOCSIN_MODELS_FILE")
    return InferenceApp(settings, models)


def measure_finished(value: bytes, models: Collection[str]) -> None:
    """Counts the end of an attempt at one of these models.

    These are by far the most records, so they are read as plain JSON; what they are not
    expected to say is counted and passed over.
    """
    try:
        said = orjson.loads(value)
        model, end = said["model"], said["end"]
        status = RETRIED if end.get("retryable") else Outcome(end["outcome"]).value
        generation_ms, known = end.get("generation_ms"), model in models
    except (ValueError, KeyError, TypeError, AttributeError):
        metrics.BUS_SKIPPED.labels(STATUS_TOPIC.name, "unreadable").inc()
        return
    if not known:
        return
    metrics.INFERENCE_REQUESTS.labels(model, status).inc()
    if isinstance(generation_ms, int | float):
        metrics.INFERENCE_LATENCY_SECONDS.labels(model).observe(generation_ms / 1000)


def _take_signals_back() -> None:
    """Ray's libraries answer SIGTERM with a stack trace on standard error, as for a
    crash; Python, and so the event loop, is to hear of it alone.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.getsignal(number))


def _measure_queue(status: QueueStatus) -> None:
    for lane in Lane:
        metrics.DISPATCH_WAITING.labels(status.model, lane.value).set(status.waiting.get(lane, 0))
    metrics.DISPATCH_RUNNING.labels(status.model).set(status.running)
    metrics.DISPATCH_SLOTS.labels(status.model).set(status.slots)


def _cpus_wanted(settings: Settings, models: tuple[ModelConfig, ...]) -> int:
    """CPUs that Ray must believe in, so that every replica can be placed; what they
    really use is the engines' own setting.
    """
    return max(
        2,
        math.ceil(
            settings.dispatchers * _DISPATCHER_CPUS
            + sum(model.num_cpus * model.replicas.max for model in models)
            + 1
        ),
    )
