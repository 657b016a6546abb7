"""One gateway's budgets, their spending at hand, on a clock that the test moves."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from schemas.control import BudgetChanged
from services.common.budgets.spend import SpendKey
from services.common.control.state import ControlState
from services.common.requests.model_catalogue import ModelConfig, Price
from services.common.requests.pricing import PriceList
from services.gateway.budgets.book import spenders
from services.gateway.budgets.guard import BudgetGuard
from services.gateway.budgets.reservations import Reservations
from services.gateway.budgets.spending import Spending
from services.gateway.limits.peer_usage import PeerUsage
from tests.unit.gateway.budgets import NOW, book, spend_key

PRICE = Price(input_per_million_usd=Decimal(0), output_per_million_usd=Decimal(1_000))
"""A thousand tokens of an answer cost a dollar, a prompt nothing."""


@dataclass
class FakeFollower:
    """Knows what was spent, or does not."""

    ready: bool = True
    counted: dict[int, int] | None = None

    def is_ready(self, _meters: Iterable[SpendKey]) -> bool:
        """As it is set."""
        return self.ready

    async def wait_until_ready(self, _meters: Iterable[SpendKey], _timeout_s: float) -> bool:
        """As it is set, at once."""
        return self.ready


@dataclass
class BudgetScene:
    """A gateway with these budgets; `known`: the others have heard of it, for ever."""

    entries: tuple[BudgetChanged, ...] = ()
    price: Price = PRICE
    gateway_id: str = "g1"
    known: bool = True
    look_s: float = 0.1
    seconds: float = 0.0
    told: int = 0
    follower: FakeFollower = field(default_factory=FakeFollower)
    peer_usage: PeerUsage = field(init=False)
    admission: BudgetGuard = field(init=False)

    def __post_init__(self) -> None:
        self.peer_usage = PeerUsage(self.gateway_id, f"{self.gateway_id}/1")
        if self.known:
            self.peer_usage.apply(self.peer_usage.take(now_s=1e9), heard_s=1000.0, offset=0)
        spending = Spending()
        for entry in self.entries:
            spending.open(spend_key(entry), [], {}, NOW)
        known = book()
        self.admission = BudgetGuard(
            known,
            spending,
            Reservations(),
            self.peer_usage,
            PriceList({"m": self.price}, ControlState),
            {"m": ModelConfig(name="m", engine="scripted", context_length=4000)},
            lambda: NOW + timedelta(seconds=self.seconds),
            self._time,
            self.follower,  # type: ignore[arg-type]
            lambda: known.read({one.budget_id: one for one in self.entries}),
            self._hear,
        )

    def spend(self, usd: Decimal, *, offset: int = 0, tenant: str = "acme") -> None:
        """A request ended and cost so much."""
        spent_by = spenders(tenant, key_id="key00001", user="", model="m")
        self.admission.spending.add(spent_by, usd, at=NOW, partition=0, offset=offset)

    def _time(self) -> float:
        """Each look at it takes a while, so that whoever waits for a moment gets there."""
        self.seconds += self.look_s
        return 1000.0 + self.seconds

    def _hear(self) -> None:
        self.told += 1
