"""Whether an entry makes sense beside the others. Pure.

The schema only says what can be read: it must go on reading what was written before a
rule came.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

from schemas.control import (
    EVERYBODY,
    RETAINED,
    AnyEntry,
    BudgetChanged,
    KeyChanged,
    Limits,
    ModelChanged,
    PolicyChanged,
    RouteChanged,
    Scope,
    TenantChanged,
    ThresholdsChanged,
    UserChanged,
)
from services.common.budgets.periods import zone_names
from services.common.control.errors import InvalidChangeError
from services.common.control.state import DEFAULT_TENANT, ControlState
from services.common.control.thresholds import LEVELS
from services.common.identity import is_user_id
from services.common.requests.model_catalogue import MAX_PRICE_USD, PRICE_DECIMALS

Problem = tuple[str, str]
"""A field's name and what is wrong with it."""

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_SEGMENTS = frozenset({"", ".", ".."})
"""What no part of a path can be: clients would send another path."""
_NAME_LENGTH = 200
_MAX_LIMIT_USD = 10**12
_LEAST_SHARE, _MOST_SHARE = 0.01, 100
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-6, 1e6
_MOST_DAYS = 10_000
_ID_RULE = (
    "use up to 64 lower-case letters, digits, dots, hyphens and underscores, the first a letter or digit"
)

_USER_RULE = "use 1 to 128 printable characters without '/'"


def require_valid(state: ControlState, entry: AnyEntry) -> None:
    """Passes where an entry may be written.

    Raises:
        InvalidChangeError: fields' values are not allowed; each is named.
    """
    problems = [*_common(entry), *_CHECKS[entry.kind](state, entry), *_not_finite("", entry.model_dump())]
    if problems:
        first, *more = problems
        raise InvalidChangeError(*first, *more)


def _common(entry: AnyEntry) -> Iterator[Problem]:
    name = getattr(entry, "name", "")
    if len(name) > _NAME_LENGTH or not name.isprintable():
        yield "name", f"use at most {_NAME_LENGTH} printable characters"
    limits: Limits | None = getattr(entry, "limits", None)
    for field, value in limits.model_dump(exclude_none=True).items() if limits else ():
        if value < 0:
            yield f"limits.{field}", f"{value} is negative; leave it out for no limit"


def _not_finite(field: str, value: object) -> Iterator[Problem]:
    """Numbers that JSON cannot say, wherever they are: 1e400 is read as one."""
    if isinstance(value, float) and not math.isfinite(value):
        yield field, f"{value} is not allowed; use a finite number"
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple) else ()
    for name, one in inner:
        yield from _not_finite(f"{field}.{name}" if field else str(name), one)


def _tenant_there(state: ControlState, tenant: str) -> Iterator[Problem]:
    known = state.tenants.get(tenant)
    if known is not None and known.deleted_at is not None:
        yield (
            "tenant",
            f"the tenant {tenant!r} was deleted; `tocsin tenants restore {tenant}` takes that back",
        )
    elif known is None and tenant != DEFAULT_TENANT:
        yield "tenant", f"there is no tenant {tenant!r}; `tocsin tenants create {tenant}` makes it"


def _user_there(state: ControlState, key: KeyChanged) -> Iterator[Problem]:
    """A new key's user is entered, or a slip of the pen would have neither limits nor
    budgets. A key from before this rule stays as it is.
    """
    tenant, user = key.tenant, key.user
    known = state.users.get(f"{tenant}/{user}")
    if known is None and key.key_id not in state.keys:
        yield (
            "user",
            f"{tenant!r} has no user {user!r}; `tocsin users create --tenant {tenant} {user}` makes it",
        )
    elif known is not None and known.deleted_at is not None:
        yield (
            "user",
            f"the user {user!r} was deleted; `tocsin users restore --tenant {tenant} {user}` takes that back",
        )


def _tenant_or_everybody(state: ControlState, tenant: str) -> Iterator[Problem]:
    return iter(()) if tenant == EVERYBODY else _tenant_there(state, tenant)


def _key(state: ControlState, key: KeyChanged) -> Iterator[Problem]:
    yield from _tenant_there(state, key.tenant)
    if not key.scopes:
        yield "scopes", "a key without any scope may do nothing; name at least one"
    yield from _scopes(key.scopes)
    if key.user and not is_user_id(key.user):
        yield "user", f"{key.user!r} is not allowed; {_USER_RULE}"
    elif key.user:
        yield from _user_there(state, key)
    if key.expires_at is not None and key.expires_at <= key.created_at:
        yield "expires_at", f"{key.expires_at.isoformat()} is before the key was made"


def _scopes(scopes: Collection[Scope]) -> Iterator[Problem]:
    if Scope.PLATFORM in scopes and Scope.ADMIN not in scopes:
        yield "scopes", "platform widens admin to every tenant; name both, or neither"


def _tenant(_state: ControlState, tenant: TenantChanged) -> Iterator[Problem]:
    if not _ID.fullmatch(tenant.tenant):
        yield "tenant", f"{tenant.tenant!r} is not allowed; {_ID_RULE}"
    if not _LEAST_SHARE <= tenant.share <= _MOST_SHARE:
        yield "share", f"{tenant.share} is not allowed; use a number from {_LEAST_SHARE} to {_MOST_SHARE}"


def _user(state: ControlState, user: UserChanged) -> Iterator[Problem]:
    yield from _tenant_there(state, user.tenant)
    if not is_user_id(user.user):
        yield "user", f"{user.user!r} is not allowed; {_USER_RULE}"
    yield from _scopes(user.scopes)


def _budget(state: ControlState, budget: BudgetChanged) -> Iterator[Problem]:
    yield from _tenant_there(state, budget.tenant)
    if not _ID.fullmatch(budget.budget_id):
        yield "budget_id", f"{budget.budget_id!r} is not allowed; {_ID_RULE}"
    yield from _subject(state, budget)
    yield from _dollars("limit_usd", budget.limit_usd, _MAX_LIMIT_USD)
    if any(not 0 < share <= 10 for share in budget.warn_at):
        yield "warn_at", "shares are numbers above 0, such as 0.8 for 80 %, with a point"
    if budget.time_zone not in zone_names():
        yield "time_zone", f"{budget.time_zone!r} is unknown; use a name such as Europe/Paris"


def _subject(state: ControlState, budget: BudgetChanged) -> Iterator[Problem]:
    subject = budget.subject
    if subject.kind == "model":
        return
    if subject.kind == "tenant" and subject.id != budget.tenant:
        missing = list(_tenant_there(state, subject.id))
        yield from (("subject.id", text) for _, text in missing)
        if not missing:
            yield "subject.id", f"the budget belongs to {budget.tenant!r}, not to {subject.id!r}"
    if subject.kind == "tenant":
        return
    known = state.get(subject.kind, subject.id)
    owner = known.tenant if isinstance(known, KeyChanged | UserChanged) else ""
    if owner != budget.tenant:
        yield "subject.id", f"the tenant {budget.tenant!r} has no {subject.kind} {subject.id!r}"


def _model(_state: ControlState, model: ModelChanged) -> Iterator[Problem]:
    if not model.model or not model.model.isprintable():
        yield "model", "name the model"
    days = [price.valid_from for price in model.prices]
    if sorted(set(days)) != days:
        yield "prices", "each begins on a day of its own, the earliest first"
    for number, price in enumerate(model.prices):
        for field, value in price.model_dump(exclude={"valid_from"}, exclude_none=True).items():
            yield from _dollars(f"prices.{number}.{field}", value, MAX_PRICE_USD)


def _dollars(field: str, value: Decimal, most: int) -> Iterator[Problem]:
    if not 0 <= value <= most or value != round(value, PRICE_DECIMALS):
        yield (
            field,
            f"{value} is not allowed; use 0 to {most} dollars, with {PRICE_DECIMALS} decimals at most",
        )


def _route(state: ControlState, route: RouteChanged) -> Iterator[Problem]:
    yield from _tenant_or_everybody(state, route.tenant)
    if not route.route.isprintable() or _SEGMENTS & set(route.route.split("/")):
        yield "route", f"{route.route!r} is not allowed; use printable characters, a name between any two '/'"
    if not route.targets:
        yield "targets", "name at least one model"
    if any(not _LEAST_WEIGHT <= target.weight <= _MOST_WEIGHT for target in route.targets):
        yield "targets", f"weights are numbers from {_LEAST_WEIGHT} to {_MOST_WEIGHT:g}"


def _thresholds(state: ControlState, thresholds: ThresholdsChanged) -> Iterator[Problem]:
    yield from _tenant_or_everybody(state, thresholds.tenant)
    order = [thresholds.low, thresholds.medium, thresholds.high, thresholds.critical]
    rise = "low, medium, high and critical rise from above 0"
    scores = [*zip(LEVELS[1:], order, strict=True)]
    for name, score in scores:
        if not 0.0 < score < float("inf"):
            yield name, f"{rise}; {name} is {score:g}"
    for lower, upper in pairwise(scores):
        if lower[1] >= upper[1]:
            yield lower[0], f"{rise}; {lower[0]} is {lower[1]:g}, {upper[0]} {upper[1]:g}"
    if any(count < 0 for count in thresholds.requests_per_hour or ()):
        yield "requests_per_hour", "counts are 0 or more"


def _policy(state: ControlState, policy: PolicyChanged) -> Iterator[Problem]:
    yield from _tenant_or_everybody(state, policy.tenant)
    if policy.inspection_ms is not None and not 0 <= policy.inspection_ms <= 1000:
        yield "inspection_ms", f"{policy.inspection_ms} is not allowed; use 0 to 1000"
    if policy.retention_days is not None and policy.retention_days < 1:
        yield "retention_days", "use 1 or more, or leave it out"
    for table, days in policy.retention_by_table.items():
        if table not in RETAINED:
            yield "retention_by_table", f"{table!r} is none of {', '.join(RETAINED)}"
        elif days is not None and not 1 <= days <= _MOST_DAYS:
            yield "retention_by_table", f"{table}={days} is not allowed; use 1 to {_MOST_DAYS} days"


_CHECKS: Mapping[str, Callable[[ControlState, Any], Iterator[Problem]]] = {
    "key": _key,
    "tenant": _tenant,
    "user": _user,
    "budget": _budget,
    "model": _model,
    "route": _route,
    "thresholds": _thresholds,
    "policy": _policy,
}
