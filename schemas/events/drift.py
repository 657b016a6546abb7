"""Whether traffic changed against its baseline, and because of whom: drift.reports."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from schemas.base import Finite, Message


class DriftSeverity(StrEnum):
    """How much traffic changed."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Stretch(Message):
    """A stretch of traffic that was compared."""

    start: AwareDatetime
    end: AwareDatetime
    requests: int


class DriftReading(Message):
    """What one test says: `p_value` for whether there is a change, `adjusted_p` in view
    of all tests, `effect` for how large it is (its unit is the test's).
    """

    test: str
    p_value: Finite
    adjusted_p: Finite
    effect: Finite
    severity: DriftSeverity
    detail: dict[str, Finite] = Field(default_factory=dict)


class DriftDriver(Message):
    """What one segment adds to the shift: shares are 0 to 1, the contributions of an
    attribute's segments add up to 1.
    """

    attribute: str
    segment: str
    window_share: Finite
    baseline_share: Finite
    contribution: Finite


class DriftReported(Message):
    """One comparison of a window with its baseline.

    `alpha` is the error rate of all tests together. `skipped` names the tests that could
    not be run, with why. `examples` are the ids of the requests that are most typical of
    the change. An empty `tenant` means all.
    """

    report_id: str
    reported_at: AwareDatetime
    model: str
    tenant: str = ""
    window: Stretch
    baseline: Stretch
    drifted: bool
    severity: DriftSeverity
    alpha: Finite
    readings: tuple[DriftReading, ...] = ()
    skipped: dict[str, str] = Field(default_factory=dict)
    drivers: tuple[DriftDriver, ...] = ()
    examples: tuple[str, ...] = ()
    explanation: tuple[str, ...] = ()
