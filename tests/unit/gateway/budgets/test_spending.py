"""What was spent, whatever is read again, late, or by another clock."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from schemas.control import Subject
from services.common.budgets.spend import Spent
from services.common.identity import pseudonym
from services.gateway.budgets.book import spenders
from services.gateway.budgets.spending import Spending
from tests.unit.gateway.budgets import NOW, book, budget, spend_key
from tests.unit.gateway.limits.scene import request

CENT = Decimal("0.01")
BY = spenders("acme", key_id="key00001", user="u_1", model="m")


def test_budgets_of_a_request_are_those_of_its_key_user_tenant_and_model() -> None:
    """Of its own tenant only; a user is known by the pseudonym; the deleted are none."""
    jo = pseudonym("a pseudonym key for tests", tenant="acme", user="jo")
    known = book(
        budget(),
        budget(budget_id="key", subject=Subject(kind="key", id="key00001")),
        budget(budget_id="user", subject=Subject(kind="user", id="acme/jo")),
        budget(budget_id="model", subject=Subject(kind="model", id="m")),
        budget(budget_id="other", tenant="globex", subject=Subject(kind="model", id="m")),
        budget(budget_id="else", subject=Subject(kind="key", id="key00002")),
        budget(budget_id="gone", deleted_at=NOW),
    )
    assert {one.id for one in known.of(request(user=jo))} == {"b1", "key", "user", "model"}
    assert {one.id for one in known.of(request(user="u_other"))} == {"b1", "key", "model"}
    assert {one.id for one in known.of(request(tenant="globex"))} == {"other"}
    assert known.of(request(tenant="initech")) == ()
    before = known.budgets
    known.read({})
    assert (known.of(request(user=jo)), before) == ((), before)


def test_records_that_are_read_again_count_once() -> None:
    """By partition, up to where each spend_key has them."""
    entry, spending = budget(), Spending()
    here = spend_key(entry)
    spending.open(here, [Spent(here.period_at(NOW).start, 5 * CENT)], {0: 9}, NOW)
    for partition, offset in ((0, 8), (0, 9), (0, 10), (0, 11), (0, 10), (0, 11), (1, 0), (1, 0)):
        spending.add(BY, CENT, at=NOW, partition=partition, offset=offset)
    assert spending.spent(here, NOW) == 8 * CENT


def test_spending_of_each_period_is_its_own() -> None:
    """What ended yesterday does not count today, though it comes late; what belongs to
    tomorrow by another clock counts once tomorrow begins.
    """
    here, spending = spend_key(budget(time_zone="Europe/Paris")), Spending()
    spending.open(here, [], {}, NOW)
    midnight = datetime(2026, 11, 27, 23, tzinfo=UTC)
    for offset, at in enumerate((NOW, midnight - timedelta(seconds=1), midnight, NOW - timedelta(days=1))):
        spending.add(BY, CENT * 10**offset, at=at, partition=0, offset=offset)
    assert spending.spent(here, NOW) == CENT * 11
    assert spending.spent(here, midnight) == CENT * 100
    assert spending.period(here, midnight).end == midnight + timedelta(days=1)
    assert spending.spent(here, midnight + timedelta(days=1)) == 0


def test_meter_that_is_closed_knows_nothing_and_others_go_on() -> None:
    """Two budgets of one spender with other periods are two spend_keys."""
    day, month = spend_key(budget()), spend_key(budget(period="month"))
    spending = Spending()
    for one in (day, month):
        spending.open(one, [], {}, NOW)
    spending.add(BY, CENT, at=NOW - timedelta(days=3), partition=0, offset=0)
    assert (spending.spent(day, NOW), spending.spent(month, NOW)) == (0, CENT)
    spending.close([day])
    spending.add(BY, CENT, at=NOW, partition=0, offset=1)
    assert (spending.spent(day, NOW), spending.spent(month, NOW)) == (0, 2 * CENT)
    assert spending.spend_keys == {month}
