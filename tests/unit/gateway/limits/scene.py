"""A gateway's limits on a clock that the test moves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.control import Limits, Scope
from schemas.inference import InferenceRequested, Lane, ReplyTo, Sampling
from services.common.control.limits import RuleBook, parse_defaults
from services.common.control.principal import Principal
from services.common.control.state import ControlState
from services.gateway.limits.estimate import TokenEstimates
from services.gateway.limits.guard import LimitGuard
from services.gateway.limits.limiter import LocalLimits
from services.gateway.limits.peer_usage import PeerUsage
from services.gateway.limits.risk import RiskTable
from services.gateway.streams.admitted import Admitted

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def caller(limits: Limits | None = None, **fields: Any) -> Principal:
    """A key of a tenant's."""
    given = {"tenant": "acme", "user": "", "key_id": "key00001", "name": "n", "scopes": (Scope.INFER,)}
    return Principal(**(given | fields), limits=limits)


def request(**fields: Any) -> InferenceRequested:
    """A request of twelve characters, four tokens by the estimate."""
    given = {
        "request_id": "cmpl-1",
        "kind": "completion",
        "model": "m",
        "lane": Lane.INTERACTIVE,
        "tenant": "acme",
        "key_id": "key00001",
        "prompt": "twelve chars",
        "sampling": Sampling(max_tokens=16),
        "reply_to": ReplyTo(partition=0, gateway_id="g"),
        "requested_at": NOW,
        "deadline": NOW + timedelta(seconds=30),
    }
    return InferenceRequested(**(given | fields))


@dataclass
class LimitsScene:
    """One gateway's limits."""

    defaults: str = ""
    gateway_id: str = "g1"
    state: ControlState = field(default_factory=ControlState)
    time_s: float = 1000.0
    told: int = 0
    risks: RiskTable = field(default_factory=lambda: RiskTable(3600.0))
    peer_usage: PeerUsage = field(init=False)
    limiter: LocalLimits = field(init=False)
    limits: LimitGuard = field(init=False)

    def __post_init__(self) -> None:
        self.peer_usage = PeerUsage(self.gateway_id, f"{self.gateway_id}/1")
        self.limiter = LocalLimits(self.peer_usage)
        self.admission = LimitGuard(
            RuleBook(parse_defaults(self.defaults)),
            self.risks,
            self.limiter,
            TokenEstimates({"m": 100}),
            lambda: self.state,
            lambda: NOW + timedelta(seconds=self.time_s - 1000),
            lambda: self.time_s,
            self._tell,
        )

    async def admit(self, asking: Principal, requests: Sequence[InferenceRequested]) -> list[Admitted]:
        """The requests of one call, as the gate lets them in, with their part of limits
        and nothing else.

        Raises:
            ProblemError: a limit is reached.
        """
        headers, reservations = await self.admission.admit(asking, requests)
        return [
            Admitted(
                one, reserved=None if reservation is None else (self.admission, reservation), headers=headers
            )
            for one, reservation in zip(requests, reservations, strict=True)
        ]

    def _tell(self) -> None:
        self.told += 1

    def exchange(self, *others: "LimitsScene") -> None:
        """Every gateway hears what every one has to tell."""
        everybody = (self, *others)
        records = [one.peer_usage.take(one.time_s) for one in everybody]
        for one in everybody:
            for offset, record in enumerate(records):
                for name, seconds in one.peer_usage.apply(record, one.time_s, offset).items():
                    one.limiter.on_used(name, seconds, one.time_s)
