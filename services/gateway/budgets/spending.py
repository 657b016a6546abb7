"""What has been spent, kept from ends as they come. Pure.

Each meter knows up to which record of each partition it counts: a record that comes
again, because the log is read again for the sake of another meter, changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from services.common.budgets.periods import Period
from services.common.budgets.spend import Meter, Spender, Spent

_NOTHING = Decimal(0)


@dataclass(slots=True)
class _Account:
    meter: Meter
    through: dict[int, int]
    spent: dict[datetime, Decimal]
    period: Period

    def add(self, partition: int, offset: int, at: datetime, usd: Decimal) -> bool:
        if offset <= self.through.get(partition, -1):
            return False
        self.through[partition] = offset
        if not self.period.has(at):
            self.period = self.meter.period_at(at)
        start = self.period.start
        self.spent[start] = self.spent.get(start, _NOTHING) + usd
        return True

    def forget_before(self, start: datetime) -> None:
        for known in [one for one in self.spent if one < start]:
            del self.spent[known]


@dataclass
class Spending:
    """The accounts of all meters that are followed."""

    _accounts: dict[Meter, _Account] = field(default_factory=dict, init=False)
    _by_spender: dict[Spender, list[_Account]] = field(default_factory=lambda: defaultdict(list), init=False)

    @property
    def meters(self) -> frozenset[Meter]:
        """What is followed."""
        return frozenset(self._accounts)

    def open(self, meter: Meter, spent: Iterable[Spent], through: Mapping[int, int], now: datetime) -> None:
        """Follows a meter from here on: what it has spent by the records up to `through`."""
        account = _Account(meter, dict(through), {one.start: one.usd for one in spent}, meter.period_at(now))
        self._accounts[meter] = account
        self._by_spender[meter.spender].append(account)

    def close(self, meters: Iterable[Meter]) -> None:
        """Follows these no more."""
        for meter in meters:
            account = self._accounts.pop(meter, None)
            if account is not None:
                self._by_spender[meter.spender].remove(account)
                if not self._by_spender[meter.spender]:
                    del self._by_spender[meter.spender]

    def add(
        self, spenders: Iterable[Spender], usd: Decimal, *, at: datetime, partition: int, offset: int
    ) -> None:
        """A request ended and cost so much."""
        for spender in spenders:
            for account in self._by_spender.get(spender, ()):
                account.add(partition, offset, at, usd)

    def spent(self, meter: Meter, now: datetime) -> Decimal:
        """What was spent in the present period.

        By another process's clock the next may have begun: what belongs to it waits
        there.
        """
        account = self._accounts.get(meter)
        if account is None:
            return _NOTHING
        start = self.period(meter, now).start
        account.forget_before(start)
        return account.spent.get(start, _NOTHING)

    def period(self, meter: Meter, now: datetime) -> Period:
        """The present period of a meter."""
        account = self._accounts.get(meter)
        if account is not None and account.period.has(now):
            return account.period
        period = meter.period_at(now)
        if account is not None:
            account.period = period
        return period
