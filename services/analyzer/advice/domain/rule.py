"""A rule: what it asks the store, when it applies, and what it then says.

The evidence query is a saved query (infra/clickhouse/queries/recommendations): a row for
each subject that has data, with its figures, and `daily`, the harm of each day. The
smaller a harm the better, so gain and effect are read the same way of every rule.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from services.common.statistics.wilson import difference_interval, wilson_interval

Family = Literal["security", "performance", "usage", "cost"]
Severity = Literal["info", "warning", "critical"]
Row = Mapping[str, Any]
_Z_ONE_SIDED_95 = 1.6448536269514722


class Condition(Protocol):
    """What must hold of a row."""

    def excess(self, row: Row) -> float | None:
        """How far beyond the line the row is, from 0 (just there) to 1; None where the
        condition does not hold.
        """

    def described(self) -> str:
        """The condition in words."""


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A column is so much or more."""

    column: str
    least: float

    def excess(self, row: Row) -> float | None:
        """See `Condition`."""
        value = row[self.column]
        if value is None or not float(value) >= self.least:
            return None
        return 1 - self.least / float(value) if value else 0.0

    def described(self) -> str:
        """See `Condition`."""
        return f"`{self.column}` ≥ {self.least:g}"


@dataclass(frozen=True, slots=True)
class ShareAbove:
    """A share is above a line, and not by luck: the lower end of Wilson's score interval
    (one-sided, 95 %) is.
    """

    part: str
    whole: str
    line: float

    def excess(self, row: Row) -> float | None:
        """See `Condition`."""
        interval = wilson_interval(int(row[self.part]), int(row[self.whole]), _Z_ONE_SIDED_95)
        if interval is None or interval[0] <= self.line:
            return None
        return 1 - self.line / (int(row[self.part]) / int(row[self.whole]))

    def described(self) -> str:
        """See `Condition`."""
        return f"`{self.part}` / `{self.whole}` > {self.line:g}, by the lower end of Wilson's interval"


@dataclass(frozen=True, slots=True)
class NotWorse:
    """A share is not worse than another by more than a margin: the lower end of Newcombe's
    interval of the difference (one-sided, 95 %) is above its negative.
    """

    good: str
    total: str
    other_good: str
    other_total: str
    margin: float

    def excess(self, row: Row) -> float | None:
        """See `Condition`."""
        counts = [int(row[name]) for name in (self.good, self.total, self.other_good, self.other_total)]
        interval = difference_interval(counts[0], counts[1], counts[2], counts[3], _Z_ONE_SIDED_95)
        return 0.0 if interval is not None and interval[0] > -self.margin else None

    def described(self) -> str:
        """See `Condition`."""
        return (
            f"`{self.good}` / `{self.total}` not below `{self.other_good}` / `{self.other_total}` by "
            f"{self.margin:g}, by Newcombe's interval"
        )


@dataclass(frozen=True, slots=True)
class Harm:
    """What `daily` counts. Where `weekly`, days are summed to a week; else it is a level,
    such as a share or milliseconds. `target` is the column with what the level could be,
    nothing where it is empty. Where `lately`, the gain is of the last seven days alone.
    Where `counted`, the column has the harm as it stands, exactly: there is no `daily`.
    """

    figure: str
    unit: str
    weekly: bool = True
    target: str = ""
    lately: bool = False
    counted: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `lead` and `conditions` must all hold; the lead's excess ranks. `title`,
    `why` and `actions` are filled with the row's figures. `critical` makes it so.
    """

    id: str
    family: Family
    severity: Severity
    days: int
    subject: tuple[str, ...]
    lead: Condition
    harm: Harm
    title: str
    why: str
    actions: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    critical: Condition | None = None

    @property
    def query(self) -> str:
        """The name of its evidence query."""
        return f"recommendations/{self.family}/{self.id}"
