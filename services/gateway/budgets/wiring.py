"""Joins the parts of a gateway's budgets."""

from schemas.topics import COMPLETED
from services.common.budgets.spend import SpendStore, spend_key_of
from services.common.bus.consumers.consumer import Tail
from services.common.clock import monotonic_s, utc_now
from services.common.control.reader import ControlReader
from services.common.requests.pricing import PriceList
from services.common.store import Store
from services.gateway.budgets.book import BudgetBook
from services.gateway.budgets.follower import SpendFollower
from services.gateway.budgets.guard import BudgetGuard
from services.gateway.budgets.reservations import Reservations
from services.gateway.budgets.spending import Spending
from services.gateway.budgets.warner import BudgetWarner
from services.gateway.limits.usage_exchange import UsageExchange
from services.gateway.openai.catalogue import Catalogue
from services.gateway.settings import Settings

_GATHER_MS = 100
_GATHER_BYTES = 256 * 1024
"""Ends are fetched together: one by one they would cost more than all else of a budget."""


def make_budgets(
    settings: Settings,
    catalogue: Catalogue,
    control: ControlReader,
    prices: PriceList,
    usage_exchange: UsageExchange,
) -> tuple[BudgetGuard, BudgetWarner]:
    """The budgets: what keeps them, and what warns of them."""
    url, name = settings.kafka_url, f"gateway-{settings.instance}"
    pseudonym_key = settings.pseudonym_key.get_secret_value()
    spending, reservations = Spending(), Reservations()
    book = BudgetBook(
        lambda entry: spend_key_of(entry, pseudonym_key=pseudonym_key, model_name=catalogue.canonical_name)
    )

    follower = SpendFollower(
        Tail(
            url,
            f"{name}-spend",
            committed_only=True,
            topic=COMPLETED.name,
            longest_poll_ms=_GATHER_MS,
            fewest_bytes=_GATHER_BYTES,
        ),
        SpendStore(Store(settings.clickhouse_url, name="tocsin-gateway", timeout_s=5.0, connections=2)),
        book,
        spending,
        utc_now,
    )
    guard = BudgetGuard(
        book,
        spending,
        reservations,
        usage_exchange.peer_usage,
        prices,
        {model.name: model for model in catalogue.models},
        utc_now,
        monotonic_s,
        follower,
        lambda: book.read(control.state.budgets),
        usage_exchange.ask_soon,
    )
    follower.on_round, follower.on_end = guard.on_round, guard.on_end
    warner = BudgetWarner(
        url, f"{name}-warnings", book, spending, lambda budget: follower.is_ready([budget.spend_key]), utc_now
    )
    return guard, warner
