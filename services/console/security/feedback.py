"""Taking what people say of a finding."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from schemas.errors import ErrorCode
from schemas.events.audit import Actor
from schemas.events.security import FindingFeedback
from schemas.topics import FINDING_FEEDBACK
from services.common.bus import Outgoing
from services.common.clock import Clock
from services.common.errors import BusUnavailableError
from services.common.http.problems import Problem, ProblemError, unavailable
from services.console.security.findings import Findings

Verdict = Literal["true_alarm", "false_alarm"]


@dataclass
class FindingFeedbackService:
    """Takes what an administrator says of a finding of their own tenant's."""

    findings: Findings
    send: Callable[[Outgoing], Awaitable[object]]
    clock: Clock

    async def submit(self, tenant: str, finding_id: str, verdict: Verdict, actor: Actor) -> FindingFeedback:
        """Publishes it; returns once the bus has it. `tenant` is empty for all tenants'.

        Raises:
            ProblemError: 404, no such finding, or another tenant's: the answer is the
                same; 503, the bus does not take it.
            StoreUnavailableError: the finding cannot be looked up now.
        """
        found = await self.findings.one(tenant, finding_id)
        if found is None:
            raise ProblemError(Problem(404, ErrorCode.NOT_FOUND, "There is no such finding.", "finding_id"))
        feedback = FindingFeedback(
            feedback_id=uuid4().hex,
            finding_id=finding_id,
            tenant=found["tenant"],
            verdict=verdict,
            given_by_kind=actor.kind,
            given_by=actor.id,
            given_at=self.clock(),
            category=found["category"],
            level=found["level"],
            place=found["place"],
            score=found["score"],
            detector_version=found["detector_version"],
            rules_version=found["rules_version"],
        )
        try:
            await self.send(
                Outgoing(FINDING_FEEDBACK.name, feedback, subject=finding_id, tenant=feedback.tenant)
            )
        except BusUnavailableError as error:
            raise unavailable(
                "The message bus did not take it in time. Send it again: the last one counts.",
                code=ErrorCode.BUS_UNAVAILABLE,
            ) from error
        return feedback
