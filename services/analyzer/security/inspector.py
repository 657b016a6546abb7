"""Has requests' texts looked at in a process of its own, so that the analyzer's other
roles go on, and within a share of one core, so that serving goes first on a small
machine.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import ValidationError

from schemas.events.security import RequestObserved
from schemas.inference import InferenceCompleted
from services.analyzer.security.child import invalid_fields, job
from services.analyzer.security.domain.inspection import Wanted, observe_request
from services.common.errors import ConfigError, PermanentError
from services.common.process import metrics
from services.common.process.child.child_process import ChildProcess
from services.common.process.child.on_demand import Child, NotAnsweredError, OnDemandChild
from services.detection.prompt_attacks.detector import Verdict

log = structlog.get_logger(__name__)

_MODULE = "services.analyzer.security.child"
_PATIENCE_S, _JOB_S = 300.0, 60.0
_TRIES = 2


def _start() -> Awaitable[Child]:
    return ChildProcess.spawn(_MODULE, OMP_NUM_THREADS="1")


def looking_child() -> OnDemandChild:
    """The process; it is ended over a text that takes it longer than a minute."""
    return OnDemandChild(_start, _PATIENCE_S, _JOB_S)


@dataclass
class Inspector:
    """What requests show. Of one whose text takes too long, or over which the process
    dies twice, behaviour counts, and what the gateway saw.

    `share` of one core is used at most, on the average: after each request it rests as
    long as that takes.
    """

    wanted: Callable[[str], Wanted]
    share: float
    child: OnDemandChild = field(default_factory=looking_child)

    async def start(self) -> None:
        """Loads the model.

        Raises:
            ConfigError: a file of it is missing.
        """
        try:
            found = await self.child.ask({}, tenant="")
        except NotAnsweredError as error:
            log.warning("inspection_not_started", why=error.why)  # the first text tries again
            return
        _require_model(found)

    async def inspect(self, events: Sequence[InferenceCompleted]) -> list[RequestObserved]:
        """What each of the requests shows, in their order.

        Raises:
            PermanentError: an event has a value that nothing can be made of, such as a
                time without a time zone.
            ConfigError: a file of the model is missing.
        """
        return [await self._inspect(event) for event in events]

    async def close(self) -> None:
        """Ends the process."""
        await self.child.close()

    async def _inspect(self, event: InferenceCompleted) -> RequestObserved:
        wanted = self.wanted(event.tenant)
        if not (event.prompt_text or event.response_text):
            metrics.SECURITY_INSPECTED.labels("behaviour").inc()
            return _behaviour(event, wanted)
        with metrics.SECURITY_INSPECTION_SECONDS.time():
            found = await self._look(event, wanted)
        metrics.SECURITY_VERDICTS_KNOWN.inc(found.get("known", 0))
        if self.share < 1:
            await asyncio.sleep(found.get("spent_s", 0.0) * (1 / self.share - 1))
        if "invalid" in found:
            raise _unusable(found["invalid"])
        if "left" in found:
            metrics.SECURITY_INSPECTED.labels("left").inc()
            log.warning("text_not_looked_at", request_id=event.request_id, why=found["left"])
            return _behaviour(
                event.model_copy(update={"prompt_text": None, "response_text": None, "prompt_parts": ()}),
                wanted,
            )
        metrics.SECURITY_INSPECTED.labels("text").inc()
        return RequestObserved.model_validate_json(found["seen"])

    async def _look(self, event: InferenceCompleted, wanted: Wanted) -> dict[str, Any]:
        why = ""
        for _ in range(_TRIES):
            try:
                found: dict[str, Any] = await self.child.ask(job(event, wanted), tenant=event.tenant)
            except NotAnsweredError as error:
                why = error.why
            else:
                _require_model(found)
                return found
        return {"left": why}


def _behaviour(event: InferenceCompleted, wanted: Wanted) -> RequestObserved:
    """What a request shows without its text."""
    try:
        return observe_request(event, _not_judged, wanted)
    except ValidationError as error:
        raise _unusable(invalid_fields(error)) from error


def _not_judged(_text: str) -> Verdict:
    raise AssertionError("there is no text to judge")


def _require_model(found: dict[str, Any]) -> None:
    if missing := found.get("missing"):
        raise ConfigError(
            f"a file of the prompt detector's model is missing: {missing}; install Tocsin anew, or leave "
            "security out of TOCSIN_ANALYZER_ROLES"
        )


def _unusable(names: Sequence[str]) -> PermanentError:
    return PermanentError(f"an end cannot be looked at for its {', '.join(names)}")
