"""From how many points on a prompt is of which risk. Pure."""

from bisect import bisect_right
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from schemas.control import PolicyChanged, ThresholdsChanged
from schemas.events.security import RiskLevel
from services.common.control.state import ControlState

LEVELS = tuple(level.value for level in RiskLevel)
FLAG_AT = "high"
"""From which level on prompts are flagged."""


class Thresholds(NamedTuple):
    """From how many points on a level begins."""

    low: float = 3.0
    medium: float = 7.0
    high: float = 12.0
    critical: float = 20.0

    @property
    def rise(self) -> bool:
        """Whether each is above the one before it."""
        return 0 < self.low < self.medium < self.high < self.critical < float("inf")

    def level(self, score: float) -> str:
        """The level that a score reaches."""
        return LEVELS[bisect_right(self, score)]

    @classmethod
    def of(cls, entry: ThresholdsChanged) -> "Thresholds":
        """Those that an administrator set."""
        return cls(entry.low, entry.medium, entry.high, entry.critical)


DEFAULT_THRESHOLDS = Thresholds()


def reaches(level: str, bound: str) -> bool:
    """Whether a level is at least another."""
    return LEVELS.index(level) >= LEVELS.index(bound)


def action_on(level: str, policy: PolicyChanged) -> Literal["blocked", "flagged", "allowed"]:
    """What a tenant's policy does about a prompt of this level."""
    if policy.prompt_attacks == "block" and reaches(level, policy.block_at):
        return "blocked"
    return "flagged" if policy.prompt_attacks in ("block", "flag") and reaches(level, FLAG_AT) else "allowed"


def parse_thresholds(text: str) -> Thresholds:
    """Thresholds as a setting has them: `low=3,medium=7,high=12,critical=20`; what is
    left out keeps its default.

    Raises:
        ValueError: they are no such list, or do not rise.
    """
    given = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
    try:
        found = Thresholds(**{name: float(value) for name, value in given.items()})
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{text!r} must be like low=3,medium=7,high=12,critical=20, with no other names"
        ) from error
    if not found.rise:
        raise ValueError(f"{text!r}: the thresholds must rise from low to critical, and be above 0")
    return found


def thresholds_for(state: ControlState, tenant: str, default: Thresholds) -> Thresholds:
    """Those that hold for a tenant: as an administrator set them, its own or
    everybody's; else, and where those do not rise, the installation's `default`.
    """
    if not state.has_thresholds(tenant):
        return default
    found = Thresholds.of(state.thresholds_of(tenant))
    return found if found.rise else default


def _are_thresholds(text: str) -> str:
    parse_thresholds(text)
    return text


RiskThresholds = Annotated[
    str,
    AfterValidator(_are_thresholds),
    Field(
        description="From how many points on a prompt is of which risk, for tenants for which an "
        "administrator set no thresholds. Gateways, analyzers and the console: give all the same."
    ),
]
"""The setting that `parse_thresholds` reads."""
DEFAULT_RISK_THRESHOLDS = "low=3,medium=7,high=12,critical=20"
