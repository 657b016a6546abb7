"""Which limits a request is under. Pure.

A limit has a name of its own, `scope:id:kind`, by which gateways tell each other of its
use.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from schemas.control import Limits
from services.common.control.principal import Principal
from services.common.control.state import ControlState

_MINUTE_S = 60.0
_HOUR_S = 3600.0
_NAME_CHARS = 120
_CAPACITY = 16_384
_SCOPES = ("key", "user", "tenant", "model")
_PRESETS = {"plain": "key.requests_per_minute=10"}
"""Defaults by a name: `plain` is ten requests a minute for each key."""
_DEFAULT = re.compile(r"(key|user|tenant|model)\.([a-z_]+)=(\d{1,12})")
_NONE = Limits()


class LimitKind(StrEnum):
    """What is limited."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    STREAMS = "streams"


FIELDS: Mapping[LimitKind, str] = {
    LimitKind.REQUESTS: "requests_per_minute",
    LimitKind.TOKENS: "tokens_per_minute",
    LimitKind.STREAMS: "concurrent_streams",
}
"""Each kind of limit with the field of an entry's `limits` that sets it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit: at most `limit` in `period_s`; of streams at most `limit` at a time."""

    name: str
    scope: str
    kind: LimitKind
    limit: int
    period_s: float = _MINUTE_S
    unit_s: float = field(init=False, repr=False, compare=False)
    """What one request or token takes of the period."""

    def __post_init__(self) -> None:
        unit_s = self.period_s / self.limit if self.limit else float("inf")
        object.__setattr__(self, "unit_s", unit_s)


@dataclass
class RuleBook:
    """The limits of each caller and model, as the control state has them, with
    `defaults` for whoever has none of its own.

    What was worked out is kept for as long as the entry it came from is the same.
    """

    defaults: Mapping[str, Limits] = field(default_factory=dict)
    capacity: int = _CAPACITY
    _known: dict[tuple[str, str], tuple[Limits, tuple[Rule, ...]]] = field(default_factory=dict, init=False)

    def rules_of(self, caller: Principal, model: str, state: ControlState) -> tuple[Rule, ...]:
        """All limits that a request is under.

        A user is whom the key belongs to, never whom the body names: a client could
        name another for each request.
        """
        rules: tuple[Rule, ...] = ()
        if caller.key_id:
            rules = self._rules("key", caller.key_id, caller.limits)
        if caller.user:
            user_id = f"{caller.tenant}/{caller.user}"
            user = state.users.get(user_id)
            rules += self._rules("user", user_id, None if user is None else user.limits)
        tenant = state.tenants.get(caller.tenant)
        rules += self._rules("tenant", caller.tenant, None if tenant is None else tenant.limits)
        entry = state.models.get(model)
        own = None if entry is None or entry.deleted_at is not None else entry.limits
        return rules + self._rules("model", model, own)

    def _rules(self, scope: str, subject_id: str, own: Limits | None) -> tuple[Rule, ...]:
        common = self.defaults.get(scope, _NONE)
        limits = own if own is not None else common
        if limits is _NONE:
            return ()
        known = self._known.get((scope, subject_id))
        if known is not None and known[0] is limits:
            return known[1]
        rules = _make_rules(scope, subject_id, limits, common)
        if len(self._known) >= self.capacity:
            del self._known[next(iter(self._known))]
        self._known[scope, subject_id] = limits, rules
        return rules


def hourly_rule(tenant: str, user: str, limit: int) -> Rule:
    """What a user may ask for in an hour, by how suspicious it is."""
    name = rule_name("risk", f"{tenant}/{user}", LimitKind.REQUESTS)
    return Rule(name, "risk", LimitKind.REQUESTS, max(0, limit), _HOUR_S)


def parse_defaults(text: str) -> dict[str, Limits]:
    """Limits by scope, from `scope.limit=number` separated by commas, or the name of a
    preset.

    Raises:
        ValueError: it is no such list; the message says which part and what there is.
    """
    found: dict[str, dict[str, int]] = {}
    for part in _PRESETS.get(text.strip(), text).split(","):
        if not part.strip():
            continue
        parsed = _DEFAULT.fullmatch(part.strip())
        if parsed is None or parsed[2] not in FIELDS.values():
            raise ValueError(
                f"{part.strip()!r} is no limit; write scope.limit=number with a scope of "
                f"{', '.join(_SCOPES)} and a limit of {', '.join(FIELDS.values())}, or the preset "
                f"{', '.join(_PRESETS)}"
            )
        found.setdefault(parsed[1], {})[parsed[2]] = int(parsed[3])
    return {scope: Limits(**given) for scope, given in found.items()}


def _are_defaults(text: str) -> str:
    parse_defaults(text)
    return text


LimitsDefaults = Annotated[
    str,
    AfterValidator(_are_defaults),
    Field(
        description="Limits of whoever has none of its own: scope.limit=number, separated by commas, with "
        "the scopes key, user, tenant, model and the limits requests_per_minute, tokens_per_minute, "
        "concurrent_streams; or the preset plain, key.requests_per_minute=10. Empty: none. Gateways hold to "
        "them, /api/me/limits of the console tells them: give both the same."
    ),
]
"""The setting that `parse_defaults` reads."""


def rule_name(scope: str, subject_id: str, kind: str) -> str:
    """A limit's name; a long id becomes its digest, so that names stay short."""
    name = f"{scope}:{subject_id}:{kind}"
    if len(name) <= _NAME_CHARS:
        return name
    return f"{scope}:#{hashlib.blake2s(subject_id.encode(), digest_size=16).hexdigest()}:{kind}"


def _make_rules(scope: str, subject_id: str, limits: Limits, common: Limits) -> tuple[Rule, ...]:
    """Limit by limit: what has none of its own takes the default."""
    rules = []
    for kind, name in FIELDS.items():
        own = getattr(limits, name)
        limit = own if own is not None else getattr(common, name)
        if limit is not None:
            rules.append(Rule(rule_name(scope, subject_id, kind), scope, kind, max(0, limit)))
    return tuple(rules)
