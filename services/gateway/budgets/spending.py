"""What has been spent, kept from ends as they come. Pure.

Each spend_key knows up to which record of each partition it counts: a record that comes
again, because the log is read again for the sake of another spend_key, changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from services.common.budgets.periods import Period
from services.common.budgets.spend import Spender, SpendKey, Spent

_NOTHING = Decimal(0)


@dataclass(slots=True)
class _Account:
    spend_key: SpendKey
    through: dict[int, int]
    spent: dict[datetime, Decimal]
    period: Period

    def add(self, partition: int, offset: int, at: datetime, usd: Decimal) -> bool:
        if offset <= self.through.get(partition, -1):
            return False
        self.through[partition] = offset
        start = self.period_of(at).start
        self.spent[start] = self.spent.get(start, _NOTHING) + usd
        return True

    def period_of(self, moment: datetime) -> Period:
        """The period in which a moment lies: most lie in the one that was asked for last."""
        if not self.period.has(moment):
            self.period = self.spend_key.period_at(moment)
        return self.period

    def forget_before(self, start: datetime) -> None:
        for known in [one for one in self.spent if one < start]:
            del self.spent[known]


@dataclass
class Spending:
    """The accounts of all spend_keys that are followed."""

    _accounts: dict[SpendKey, _Account] = field(default_factory=dict, init=False)
    _by_spender: dict[Spender, list[_Account]] = field(default_factory=lambda: defaultdict(list), init=False)

    @property
    def spend_keys(self) -> frozenset[SpendKey]:
        """What is followed."""
        return frozenset(self._accounts)

    def open(
        self, spend_key: SpendKey, spent: Iterable[Spent], through: Mapping[int, int], now: datetime
    ) -> None:
        """Follows a spend_key from here on: what it has spent by the records up to `through`."""
        account = _Account(
            spend_key, dict(through), {one.start: one.usd for one in spent}, spend_key.period_at(now)
        )
        self._accounts[spend_key] = account
        self._by_spender[spend_key.spender].append(account)

    def close(self, spend_keys: Iterable[SpendKey]) -> None:
        """Follows these no more."""
        for spend_key in spend_keys:
            account = self._accounts.pop(spend_key, None)
            if account is not None:
                self._by_spender[spend_key.spender].remove(account)
                if not self._by_spender[spend_key.spender]:
                    del self._by_spender[spend_key.spender]

    def add(
        self, spenders: Iterable[Spender], usd: Decimal, *, at: datetime, partition: int, offset: int
    ) -> None:
        """A request ended and cost so much."""
        for spender in spenders:
            for account in self._by_spender.get(spender, ()):
                account.add(partition, offset, at, usd)

    def spent(self, spend_key: SpendKey, now: datetime) -> Decimal:
        """What was spent in the present period.

        By another process's clock the next may have begun: what belongs to it waits
        there.
        """
        account = self._accounts.get(spend_key)
        if account is None:
            return _NOTHING
        start = account.period_of(now).start
        if len(account.spent) > 1:
            account.forget_before(start)
        return account.spent.get(start, _NOTHING)

    def period(self, spend_key: SpendKey, now: datetime) -> Period:
        """The present period of a spend_key."""
        account = self._accounts.get(spend_key)
        return spend_key.period_at(now) if account is None else account.period_of(now)
