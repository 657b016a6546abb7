"""What is asked about usage. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from services.console.domain.spans import Span, Step, spans

_HOUR = timedelta(hours=1)
_MINUTES_KEPT = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Requests that ended from `since` on, up to but without `until`, of what `only` names
    (tenant, model); hours and weekdays are of `zone`. The `most_users` with most requests
    are told.
    """

    since: datetime
    until: datetime
    zone: ZoneInfo
    only: Mapping[str, str] = field(default_factory=dict)
    most_users: int = 10

    def spans(self, now: datetime) -> list[Span]:
        """The span as sums that the store still has at `now`."""
        return spans(self.since, self.until, self._steps("day", now))

    def hour_spans(self, now: datetime) -> list[Span]:
        """The same, in steps of which each lies in one hour of the zone."""
        return spans(self.since, self.until, self._steps("hour" if self._has_whole_hours else "minute", now))

    @property
    def _has_whole_hours(self) -> bool:
        """Whether the zone's hours begin with those of UTC, on every day of the span."""
        days = range((self.until - self.since).days + 2)
        offsets = {(self.since + timedelta(days=day)).astimezone(self.zone).utcoffset() for day in days}
        return all(offset is not None and not offset % _HOUR for offset in offsets)

    def _steps(self, longest: Step, now: datetime) -> tuple[Step, ...]:
        """Minutes are kept for ninety days; what is older is counted from the requests."""
        steps: tuple[Step, ...] = ("day", "hour", "minute")
        kept = steps if self.since > now - _MINUTES_KEPT else steps[:2]
        return kept[steps.index(longest) :]


def end_of_hour(now: datetime) -> datetime:
    """Where the present hour ends: what is asked for up to now is asked for up to there,
    so that the same question has the same answer until something happens.
    """
    return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + _HOUR
