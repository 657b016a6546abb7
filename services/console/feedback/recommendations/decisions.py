"""Taking what people decide of a recommendation."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from schemas.errors import ErrorCode
from schemas.events.audit import Actor
from schemas.events.insight.recommendations import RecommendationChange, RecommendationChanged
from schemas.topics import RECOMMENDATIONS
from services.common.bus import Outgoing
from services.common.clock import Clock
from services.common.errors import BusUnavailableError
from services.common.http.problems import Problem, ProblemError, unavailable
from services.console.feedback.recommendations.reader import Recommendations

Decision = Literal["accepted", "dismissed", "done"]
DECISIONS: dict[str, Decision] = {"accept": "accepted", "dismiss": "dismissed", "done": "done"}
"""What people say, with the state that follows."""


@dataclass(frozen=True)
class DecisionService:
    """Takes what an administrator decides; the last decision holds."""

    recommendations: Recommendations
    send: Callable[[Outgoing], Awaitable[object]]
    clock: Clock

    async def decide(
        self, tenant: str, fingerprint: str, decision: Decision, reason: str, actor: Actor
    ) -> RecommendationChanged:
        """Publishes it; returns once the bus has it. `tenant` is empty for all tenants'.

        Raises:
            ProblemError: 404, no such recommendation, or another tenant's: the answer is
                the same; 503, the bus does not take it.
            StoreUnavailableError: the recommendation cannot be looked up now.
        """
        found = await self.recommendations.one(tenant, fingerprint)
        if found is None:
            raise ProblemError(
                Problem(404, ErrorCode.NOT_FOUND, "There is no such recommendation.", "fingerprint")
            )
        change = RecommendationChanged(
            change_id=uuid4().hex,
            fingerprint=fingerprint,
            tenant=found["tenant"],
            change=RecommendationChange(decision),
            changed_at=self.clock(),
            changed_by_kind=actor.kind,
            changed_by=actor.id,
            reason=reason,
            harm=found["harm"],
            severity=found["severity"],
        )
        record = Outgoing(
            RECOMMENDATIONS.name, change, subject=fingerprint, tenant=change.tenant, partition=0
        )
        try:
            await self.send(record)
        except BusUnavailableError as error:
            raise unavailable(
                "The message bus did not take it in time. Send it again: the last one counts.",
                code=ErrorCode.BUS_UNAVAILABLE,
            ) from error
        return change
