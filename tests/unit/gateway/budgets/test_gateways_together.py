"""Several gateways that read the bus each at its own pace, and one budget.

A world of pure parts: what each gateway holds (`Reservations`), what it tells and hears
(`PeerUsage`) and how it decides, over two logs that each reads when the test says.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events.gateways.limits import LimitShares
from services.gateway.budgets.decision import Admit, BudgetStatus, decide
from services.gateway.budgets.estimates import Estimate
from services.gateway.budgets.reservations import Reservations
from services.gateway.limits.peer_usage import PeerUsage
from tests.unit.gateway.budgets import book, budget

LIMIT, MOST = 12, 4
[BUDGET] = book(budget(limit_usd=Decimal(LIMIT))).budgets
NAME = "b"


@dataclass
class World:
    """The two logs, the clock, and what was really reserved and spent."""

    shares: list[LimitShares] = field(default_factory=list)
    ends: list[tuple[str, Decimal]] = field(default_factory=list)
    now_s: float = 0.0
    open: dict[str, Decimal] = field(default_factory=dict)

    @property
    def committed(self) -> Decimal:
        """What was spent, and what requests under way may still spend."""
        return sum((usd for _, usd in self.ends), Decimal(0)) + sum(self.open.values(), Decimal(0))


@dataclass
class Gateway:
    """One gateway: what it has read, and the record that it has under way."""

    world: World
    gateway_id: str
    peer_usage: PeerUsage = field(init=False)
    reservations: Reservations = field(default_factory=Reservations)
    spent: Decimal = Decimal(0)
    read_shares: int = 0
    read_ends: int = 0
    under_way: LimitShares | None = None
    asked: int = 0

    def __post_init__(self) -> None:
        self.peer_usage = PeerUsage(self.gateway_id, f"{self.gateway_id}/1")
        self.peer_usage.ends_read = {0: 0}

    @property
    def may_decide(self) -> bool:
        """Whether it is known which other gateways there are."""
        return self.peer_usage.peers(self.world.now_s) is not None

    def ask(self, usd: int) -> None:
        """A client asks for a request that may cost so much."""
        peers = self.peer_usage.peers(self.world.now_s)
        status = BudgetStatus(
            BUDGET,
            self.spent,
            self.reservations.held(NAME),
            self.reservations.lately(NAME, self.peer_usage.known_serial),
            Decimal(self.peer_usage.others(NAME)),
            peers,
        )
        if isinstance(decide(Estimate(Decimal(usd), Decimal(0), 1, 1, capped=True), [status]), Admit):
            self.asked += 1
            name = f"{self.gateway_id}-{self.asked}"
            self.world.open[name] = Decimal(usd)
            serial = self.peer_usage.next_serial
            self.reservations.take(name, (NAME,), Decimal(usd), serial=serial, until_s=1e9)
            self.note()

    def note(self) -> None:
        """What is reserved here goes into the next record."""
        self.peer_usage.set(NAME, float(self.reservations.told(NAME)))

    def end(self, count: int) -> None:
        """The oldest of its requests end; an odd number cost half of what they may have."""
        for name in [one for one in self.world.open if one.startswith(f"{self.gateway_id}-")][:count]:
            self.world.ends.append((name, self.world.open.pop(name) / (1 + count % 2)))

    def build(self) -> None:
        """Makes its next record, where it has none under way."""
        if self.under_way is None:
            self.under_way = self.peer_usage.take(self.world.now_s)

    def land(self) -> None:
        """Its record comes to the bus."""
        if self.under_way is not None:
            self.world.shares.append(self.under_way)
            self.under_way = None

    def lose(self) -> None:
        """Its record does not come to the bus."""
        if self.under_way is not None:
            self.peer_usage.requeue(self.under_way)
            self.under_way = None

    def hear(self, count: int) -> None:
        """Reads so many records of the gateways."""
        self.peer_usage.resume(self.world.now_s)
        for record in self.world.shares[self.read_shares : self.read_shares + count]:
            self.peer_usage.apply(record, self.world.now_s, self.read_shares)
            self.read_shares += 1

    def count(self, count: int) -> None:
        """Reads so many ends, and tells no longer what the others have counted."""
        for name, usd in self.world.ends[self.read_ends : self.read_ends + count]:
            self.spent += usd
            self.reservations.end(name, usd, partition=0, offset=self.read_ends, now_s=self.world.now_s)
            self.read_ends += 1
        self.peer_usage.ends_read = {0: self.read_ends}
        self.reservations.forget_ended(self.peer_usage.have_counted, -1.0)
        self.note()


def settle(gateways: list[Gateway]) -> None:
    """Everybody tells, and hears, all that there is."""
    for one in gateways:
        one.build()
        one.land()
    for one in gateways:
        one.hear(10_000)
        one.count(10_000)


STEP = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["ask", "ask", "end", "tell", "tell", "lose", "build", "land", "hear", "hear", "count"]),
    st.integers(1, 8),
)


@settings(max_examples=200)
@given(number=st.integers(1, 3), steps=st.lists(STEP, min_size=20, max_size=100), late=st.booleans())
def test_gateways_overshoot_by_one_request_of_each_other_however_late_they_hear(
    number: int, steps: list[tuple[int, str, int]], *, late: bool
) -> None:
    """Whoever reads what when, whatever is lost on the way to the bus, and though one
    starts among others that are at work.
    """
    world = World()
    gateways = [Gateway(world, f"g{one}") for one in range(number)]
    for _ in range(2):
        settle(gateways[1:] if late else gateways)
    for which, what, amount in steps:
        one = gateways[which % number]
        if what == "ask":
            for _ in range(amount):
                one.ask(1)
        elif what == "tell":
            one.build()
            one.land()
        elif what in ("end", "hear", "count"):
            getattr(one, what)(amount)
        else:
            getattr(one, what)()
        assert world.committed <= LIMIT + number - 1


@given(number=st.integers(1, 3), costs=st.lists(st.integers(1, MOST), min_size=30, max_size=30))
def test_gateways_give_out_all_that_there_is_once_they_have_heard_each_other(
    number: int, costs: list[int]
) -> None:
    """Nothing stays reserved that is not: what is left at the end is less than what was
    asked for.
    """
    world = World()
    gateways = [Gateway(world, f"g{one}") for one in range(number)]
    for turn, usd in enumerate(costs):
        settle(gateways)
        settle(gateways)
        gateways[turn % number].ask(usd)
        gateways[turn % number].end(2)
    settle(gateways)
    settle(gateways)
    for one in gateways:
        assert one.spent == world.committed
        assert one.reservations.told(NAME) == 0
    assert world.committed > LIMIT - max(costs)


@settings(max_examples=200)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["beat", "beat", "build", "land", "lose", "hear", "wait", "wait"]),
            st.integers(1, 4),
        ),
        min_size=20,
        max_size=120,
    )
)
def test_gateway_that_may_decide_is_dead_for_no_other_that_may(steps: list[tuple[int, str, int]]) -> None:
    """However long one is held up, or its records or its reading are: what each decides
    rests on how many they are.
    """
    world = World()
    gateways = [Gateway(world, f"g{one}") for one in range(3)]
    for _ in range(2):
        settle(gateways)
    for which, what, amount in steps:
        one = gateways[which]
        if what == "wait":
            world.now_s += amount / 4
        elif what == "hear":
            one.hear(amount)
        elif what == "beat":
            settle([one])
        else:
            getattr(one, what)()
        deciding = [gateway for gateway in gateways if gateway.may_decide]
        for gateway in deciding:
            assert gateway.peer_usage.live >= len(deciding) - 1
