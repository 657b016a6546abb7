"""The parts of the console that serve /api/security, together."""

from dataclasses import dataclass

from services.common.control.reader import ControlReader
from services.common.control.thresholds import Thresholds, thresholds_for
from services.common.http.problems import malformed
from services.console.security.analyst import Analyst
from services.console.security.feedback import FindingFeedbackService
from services.console.security.findings import Findings
from services.console.security.tuning import TuningAdvice


@dataclass(frozen=True)
class SecurityServices:
    """What the routes ask. `default` are the thresholds of whom no administrator gave
    any.
    """

    control: ControlReader
    default: Thresholds
    analyst: Analyst
    findings: Findings
    feedback: FindingFeedbackService
    tuning: TuningAdvice

    def thresholds(self, tenant: str) -> Thresholds:
        """Those that hold for a tenant."""
        return thresholds_for(self.control.state, tenant, self.default)

    def require_tenant(self, tenant: str, *, is_known: bool) -> None:
        """Passes a tenant that there is, or of which something is known from before.

        Raises:
            ProblemError: 400, there is none.
        """
        if tenant and not is_known and tenant not in self.control.state.entries("tenant"):
            raise malformed(f"tenant: there is no tenant {tenant!r}, and nothing is known of one.", "tenant")
