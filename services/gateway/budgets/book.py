"""Which budgets a request falls under. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from schemas.control import BudgetChanged
from schemas.inference import InferenceRequested
from services.common.budgets.spend import Spender, SpendKey

MeterOf = Callable[[BudgetChanged], SpendKey]


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget as the gateway applies it."""

    id: str
    tenant: str
    spend_key: SpendKey
    limit_usd: Decimal
    hard: bool
    warn_at: tuple[Decimal, ...]
    entry: BudgetChanged


@dataclass
class BudgetBook:
    """All budgets that are not deleted, by whom they bound; read anew where the control
    state's change.
    """

    spend_key_of: MeterOf
    budgets: tuple[Budget, ...] = field(default=(), init=False)
    spend_keys: frozenset[SpendKey] = field(default=frozenset(), init=False)
    tenants: frozenset[str] = field(default=frozenset(), init=False)
    _by_spender: dict[Spender, tuple[Budget, ...]] = field(default_factory=dict, init=False)
    _read: Mapping[str, BudgetChanged] | None = field(default=None, init=False)

    def read(self, entries: Mapping[str, BudgetChanged]) -> None:
        """Takes the control state's budgets; the very same mapping again costs nothing."""
        if entries is self._read:
            return
        self._read = entries
        self.budgets = tuple(self._made(entries.values()))
        self.spend_keys = frozenset(one.spend_key for one in self.budgets)
        self.tenants = frozenset(one.tenant for one in self.budgets)
        by_spender: dict[Spender, list[Budget]] = defaultdict(list)
        for one in self.budgets:
            by_spender[one.spend_key.spender].append(one)
        self._by_spender = {spender: tuple(found) for spender, found in by_spender.items()}

    def of(self, request: InferenceRequested) -> tuple[Budget, ...]:
        """The budgets that a request falls under."""
        if request.tenant not in self.tenants:
            return ()
        found: tuple[Budget, ...] = ()
        spent_by = spenders(request.tenant, key_id=request.key_id, user=request.user, model=request.model)
        for spender in spent_by:
            found += self._by_spender.get(spender, ())
        return found

    def _made(self, entries: Iterable[BudgetChanged]) -> Iterable[Budget]:
        for entry in entries:
            if entry.deleted_at is None:
                yield Budget(
                    entry.budget_id,
                    entry.tenant,
                    self.spend_key_of(entry),
                    entry.limit_usd,
                    entry.hard,
                    tuple(sorted(set(entry.warn_at))),
                    entry,
                )


def spenders(tenant: str, *, key_id: str, user: str, model: str) -> tuple[Spender, ...]:
    """Whose spending a request is."""
    return (
        Spender("key", tenant, key_id),
        Spender("user", tenant, user),
        Spender("tenant", tenant, tenant),
        Spender("model", tenant, model),
    )
