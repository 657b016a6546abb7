"""Which users are limited for what was found in their requests. Pure.

What was found wanes: after a half-life it counts half. So limits loosen again by
themselves, whether or not anybody assesses the user anew.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from schemas.events.security import UserRisk
from services.common.control.limits import Rule, hourly_rule
from services.common.control.state import ControlState

_CAPACITY = 100_000
_NONE: Mapping[str, UserRisk] = {}


@dataclass
class RiskTable:
    """The newest assessment of each user, of at most `capacity` users. Names may be made
    up, so room is taken from the tenant that takes most of it: of its users those that
    were assessed longest ago go first.
    """

    half_life_s: float
    capacity: int = _CAPACITY
    forgotten: int = 0
    _risks: "dict[str, OrderedDict[str, UserRisk]]" = field(default_factory=dict, init=False)
    """By tenant, then by `tenant/user`."""
    _count: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self._count

    def take(self, subject: str, risk: UserRisk | None) -> None:
        """The newest record of `tenant/user`; None ends it. One that tells of another
        user than its key changes nothing.
        """
        if risk is not None and subject != f"{risk.tenant}/{risk.user}":
            return
        tenant = _tenant_of(subject)
        of_tenant = self._risks.setdefault(tenant, OrderedDict())
        self._count -= of_tenant.pop(subject, None) is not None
        if risk is not None:
            of_tenant[subject] = risk
            self._count += 1
        if self._count > self.capacity:
            tenant, of_tenant = max(self._risks.items(), key=lambda one: (len(one[1]), one[0]))
            of_tenant.popitem(last=False)
            self._count -= 1
            self.forgotten += 1
        if not of_tenant:
            del self._risks[tenant]

    def findings_of(self, tenant: str, user: str, now: datetime) -> int:
        """What was found of a user, waned; 0 where nothing was."""
        subject = f"{tenant}/{user}"
        risk = self._risks.get(_tenant_of(subject), _NONE).get(subject)
        if risk is None or risk.findings <= 0:
            return 0
        age_s = max(0.0, (now - risk.assessed_at).total_seconds())
        return int(risk.findings * 0.5 ** min(age_s / self.half_life_s, 60.0) + 0.5)

    def rules_of(self, tenant: str, user: str, state: ControlState, now: datetime) -> tuple[Rule, ...]:
        """The limit of a suspicious user, by the tenant's thresholds.

        Who is not suspicious is limited only where an administrator named that number:
        from which score on a prompt is dangerous says nothing of harmless users.
        """
        if not user:
            return ()
        findings = self.findings_of(tenant, user, now)
        none, some, many = state.requests_per_hour_of(tenant)
        limit = none if not findings else some if findings <= 3 else many
        return () if limit is None else (hourly_rule(tenant, user, limit),)


def _tenant_of(subject: str) -> str:
    return subject.partition("/")[0]
