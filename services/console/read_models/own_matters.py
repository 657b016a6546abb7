"""What a caller is told of themselves: who they are, what bounds them, what they used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.control import BudgetChanged
from services.common.clock import Clock
from services.common.control.limits import FIELDS, Rule, RuleBook
from services.common.control.principal import Principal
from services.common.control.state import ControlState
from services.common.errors import StoreUnavailableError
from services.common.identity import pseudonym
from services.common.requests.model_catalogue import ModelConfig
from services.common.requests.pricing import PriceList
from services.console.administration.own_keys import OwnKeys
from services.console.domain.cost_query import CostQuery
from services.console.domain.dollars import dollars_text
from services.console.read_models.budgets import BudgetSpend
from services.console.read_models.costs import Costs

_OWN_SUBJECTS = frozenset({"key", "user"})


@dataclass(frozen=True)
class OwnMatters:
    """Tells callers of themselves. `limits` has the defaults that the gateways hold to."""

    keys: OwnKeys
    costs: Costs
    spend: BudgetSpend
    models: Sequence[ModelConfig]
    limits: RuleBook
    pseudonym_key: str = field(repr=False)
    clock: Clock

    def who(self, principal: Principal) -> dict[str, Any]:
        """Who calls, and what they may do."""
        state = self._state
        key, tenant = state.keys.get(principal.key_id), state.tenants.get(principal.tenant)
        return {
            "tenant": principal.tenant,
            "tenant_name": tenant.name if tenant else "",
            "user": principal.user,
            "key_id": principal.key_id,
            "key_name": principal.name,
            "scopes": list(principal.scopes),
            "models": sorted(model.name for model in self._usable(principal)),
            "expires_at": key.expires_at.isoformat() if key and key.expires_at else None,
        }

    def bounds(self, principal: Principal) -> dict[str, Any]:
        """The limits of the caller's requests, as gateways hold to them: None where
        there is none.
        """
        state, names = self._state, sorted(model.name for model in self._usable(principal))
        rules = {name: self.limits.rules_of(principal, name, state) for name in ("", *names)}
        return {
            **{scope: _limits(rules[""], scope) for scope in ("key", "user", "tenant")},
            "models": {name: found for name in names if (found := _limits(rules[name], "model"))},
            "requests_per_hour_by_risk": list(state.requests_per_hour_of(principal.tenant)),
        }

    def prices(self, principal: Principal) -> list[dict[str, Any]]:
        """What each model that the caller may ask for costs now."""
        usable = sorted(self._usable(principal), key=lambda model: model.name)
        prices = PriceList({model.name: model.price for model in usable}, lambda: self._state)
        now = self.clock()
        return [{"model": model.name, **prices.standing(model.name, now).told()} for model in usable]

    async def budgets(self, principal: Principal, *, with_tenants: bool) -> list[dict[str, Any]]:
        """The budgets that bound the caller, by their ids. What was spent of those that
        they share with others is told `with_tenants` only; of none while the store is away.
        """
        found = [one for one in self._state.budgets.values() if self._is_bound(principal, one)]
        told = [one for one in found if with_tenants or one.subject.kind in _OWN_SUBJECTS]
        try:
            standing = {one["budget_id"]: one for one in await self.spend.read(told)}
        except StoreUnavailableError:
            standing = {}
        found.sort(key=lambda one: one.budget_id)
        return [standing.get(one.budget_id) or _untold(one) for one in found]

    async def usage(self, principal: Principal, query: CostQuery) -> dict[str, Any]:
        """What the caller used and cost: by their keys, and by tokens of the identity
        provider, which have none. A user whom a request names counts for nothing: that
        is whatever its client says.

        Raises:
            StoreUnavailableError: not now.
        """
        own = tuple(key.key_id for key in self.keys.of(principal, with_deleted=True))
        user = principal.user and pseudonym(self.pseudonym_key, tenant=principal.tenant, user=principal.user)
        return await self.costs.read(replace(query, keys=own, keyless_user=user))

    @property
    def _state(self) -> ControlState:
        return self.keys.control.state

    def _usable(self, principal: Principal) -> Iterable[ModelConfig]:
        """Those that the caller may ask for and that are switched on."""
        for model in self.models:
            known = self._state.models.get(model.name)
            is_on = known is None or known.enabled or known.deleted_at is not None
            if is_on and model.is_open_to(principal.models):
                yield model

    def _is_bound(self, principal: Principal, budget: BudgetChanged) -> bool:
        """Whether a budget bounds what the caller spends."""
        if budget.tenant != principal.tenant or budget.deleted_at is not None:
            return False
        kind, subject = budget.subject.kind, budget.subject.id
        if kind == "model":
            named = [model for model in self.models if subject in model.served_names]
            return not named or named[0].is_open_to(principal.models)
        if kind == "tenant":
            return subject == principal.tenant
        own = principal.key_id if kind == "key" else principal.user
        return bool(own) and subject == (own if kind == "key" else f"{principal.tenant}/{own}")


def _limits(rules: Iterable[Rule], scope: str) -> dict[str, int | None] | None:
    """Those of a scope, as an entry has them."""
    found = {FIELDS[rule.kind]: rule.limit for rule in rules if rule.scope == scope}
    return {name: found.get(name) for name in FIELDS.values()} if found else None


def _untold(budget: BudgetChanged) -> dict[str, Any]:
    """A budget without what was spent of it."""
    told = budget.model_dump(mode="json", include={"budget_id", "tenant", "subject", "period"})
    told |= {"time_zone": budget.time_zone, "hard": budget.hard, "limit_usd": dollars_text(budget.limit_usd)}
    return told | dict.fromkeys(("spent_usd", "left_usd", "share", "period_start", "renews_at"))
