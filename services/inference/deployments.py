"""The service's Ray Serve deployments: one application a model, and one of dispatchers.

Serve places, watches, restarts, rolls and scales them; no request goes through its
router. Its health checks come every second, so that a dead replica is replaced in two.
"""

import asyncio
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from services.common.process.interpreter import collect_less
from services.common.process.telemetry import configure_logging, configure_tracing
from services.common.requests.model_catalogue import ModelConfig
from services.inference.autoscaling import RUNNING, WAITING, SlotsPolicy
from services.inference.dispatcher.dispatchers import Dispatchers
from services.inference.engines import create_engine
from services.inference.local_ray import keep_replica_on_loopback
from services.inference.replica.replica import Replica
from services.inference.settings import Settings

_HEALTH: dict[str, Any] = {
    "health_check_period_s": 1,
    "health_check_timeout_s": 10,
    "graceful_shutdown_wait_loop_s": 0.5,
}


class ModelReplica:
    """A replica as Serve sees it."""

    async def __init__(self, settings: Settings, model: ModelConfig) -> None:  # type: ignore[misc]  # Serve awaits it
        _on_this_machine_only(settings)
        configure_logging("replica", settings)
        configure_tracing("replica", settings)
        self._drain_timeout_s = settings.drain_timeout_s
        self._engine = create_engine(model)
        self._replica = Replica(settings.kafka_url, model, self._engine)
        await self._replica.start()
        collect_less()
        self._work = asyncio.get_running_loop().create_task(self._replica.run())

    async def check_health(self) -> None:
        """Raises where the replica no longer works; Serve then replaces it."""
        if self._work.done():
            raise RuntimeError(f"the replica's loops ended: {self._work.exception()!r}")
        if not await self._engine.healthy():
            raise RuntimeError("the engine is not healthy")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What `SlotsPolicy` decides by."""
        return {RUNNING: float(self._replica.running), WAITING: float(self._replica.waiting)}

    async def __del__(self) -> None:
        """Serve awaits this when it stops a replica."""
        await self._replica.drain(self._drain_timeout_s)
        self._work.cancel()
        await self._replica.close()


class DispatcherHost:
    """A process of dispatchers, one for each model."""

    def __init__(self, settings: Settings, models: tuple[ModelConfig, ...], replica_name: str = "") -> None:
        _on_this_machine_only(settings)
        configure_logging("dispatcher", settings)
        configure_tracing("dispatcher", settings)
        name = replica_name or serve.get_replica_context().replica_id.unique_id
        self._dispatchers = Dispatchers(
            settings.kafka_url, name, models, settings.store_text, settings.replica_silence_s
        )
        self._work = asyncio.get_running_loop().create_task(self._dispatchers.run())
        collect_less()

    async def check_health(self) -> None:
        """Raises where a dispatcher no longer works; Serve then replaces the process."""
        if self._work.done():
            raise RuntimeError(f"the dispatchers ended: {self._work.exception()!r}")

    async def __del__(self) -> None:
        """Serve awaits this when it stops a process."""
        await self._dispatchers.close()
        self._work.cancel()


def model_application(settings: Settings, model: ModelConfig) -> serve.Application:
    """A model's replicas."""
    options: dict[str, Any] = {"num_replicas": model.replicas.min}
    if model.replicas.max > model.replicas.min:
        policy = AutoscalingPolicy(  # type: ignore[no-untyped-call]
            policy_function=SlotsPolicy, policy_kwargs={"slots": model.slots}
        )
        options = {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=model.replicas.min,
                max_replicas=model.replicas.max,
                policy=policy,
                metrics_interval_s=1.0,
                look_back_period_s=5.0,
                upscale_delay_s=2.0,
                downscale_delay_s=60.0,
            )
        }
    options |= {
        "ray_actor_options": {"num_cpus": model.num_cpus, "num_gpus": model.num_gpus},
        "graceful_shutdown_timeout_s": settings.drain_timeout_s + 5,
    }
    return _deployment(ModelReplica, "replica", options).bind(settings, model)


def dispatcher_application(settings: Settings, models: tuple[ModelConfig, ...]) -> serve.Application:
    """The dispatchers: one serves, the others stand by."""
    options = {
        "num_replicas": settings.dispatchers,
        "ray_actor_options": {"num_cpus": 0.1},
        "graceful_shutdown_timeout_s": 15,
    }
    return _deployment(DispatcherHost, "dispatcher", options).bind(settings, models)


def _on_this_machine_only(settings: Settings) -> None:
    if not settings.ray_address:
        keep_replica_on_loopback()


def _deployment(kind: type, name: str, options: dict[str, Any]) -> serve.Deployment:
    decorate: Any = serve.deployment(name=name, **_HEALTH, **options)
    deployment: serve.Deployment = decorate(kind)
    return deployment
