"""Thresholds for a share of false alarms, and what would have been otherwise with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from services.common.clock import Clock
from services.common.control.thresholds import LEVELS, Thresholds
from services.common.store import Store
from services.console.domain.threats.tuning import METHOD, Candidate, Judged, TunedLevel, tune

_MOST_JUDGED = 100_000


@dataclass(frozen=True, slots=True)
class TuningRequest:
    """What is wanted: the level whose threshold is sought, the largest share of false
    alarms, how sure that shall be, and from how many days.
    """

    level: TunedLevel
    target: float
    confidence: float
    days: int


@dataclass(frozen=True)
class TuningAdvice:
    """Reads what people said of findings in prompts, and the traffic."""

    store: Store
    clock: Clock

    async def advise(self, tenant: str, thresholds: Thresholds, asked: TuningRequest) -> dict[str, Any]:
        """What is proposed to a tenant that has these thresholds, and what its traffic of
        those days would have been with them.

        Raises:
            StoreUnavailableError: not now.
        """
        since = (self.clock() - timedelta(days=asked.days)).astimezone(UTC)
        parameters = {"tenant": tenant, "since": since}
        said = await self.store.query(
            "SELECT score, verdict FROM v_finding_feedback WHERE tenant = {tenant:String} "
            "AND given_at >= {since:DateTime64(3, 'UTC')} AND place = 'prompt' "
            "ORDER BY given_at DESC LIMIT {most:UInt32}",
            parameters | {"most": _MOST_JUDGED},
        )
        found = await self.store.query(
            "SELECT count() AS findings FROM v_findings WHERE tenant = {tenant:String} "
            "AND found_at >= {since:DateTime64(3, 'UTC')} AND place = 'prompt'",
            parameters,
        )
        judged = [Judged(float(one["score"]), one["verdict"] == "false_alarm") for one in said]
        tuning = tune(judged, thresholds, asked.level, asked.target, asked.confidence)
        proposed = tuning.proposed
        return {
            "tenant": tenant,
            "level": asked.level,
            "target": asked.target,
            "confidence": asked.confidence,
            "confidence_of_each": tuning.each_confidence,
            "method": METHOD,
            "since": since.isoformat(),
            "judged": len(judged),
            "judged_false": sum(one.is_false for one in judged),
            "findings": int(found[0]["findings"]) if found else 0,
            "present": {"thresholds": thresholds._asdict(), **_told(tuning.present)},
            "proposed": None
            if proposed is None or tuning.chosen is None
            else {"thresholds": proposed._asdict(), **_told(tuning.chosen)},
            "candidates": [_told(one) for one in tuning.candidates],
            "recorded": None if proposed is None else await self._recorded(parameters, thresholds, proposed),
        }

    async def _recorded(
        self, parameters: Mapping[str, Any], present: Thresholds, proposed: Thresholds
    ) -> dict[str, Any]:
        """Prompts that gateways inspected, by their level now and as proposed."""
        rows = await self.store.query(
            "SELECT multiIf("  # noqa: S608  names of ours
            + _level_sql("now")
            + ") AS now, multiIf("
            + _level_sql("then")
            + ") AS then, count() AS requests FROM inference_events WHERE tenant = {tenant:String} "
            "AND completed_at >= {since:DateTime64(3, 'UTC')} AND risk_level != '' GROUP BY now, then",
            {
                **parameters,
                **{f"now_{level}": points for level, points in present._asdict().items()},
                **{f"then_{level}": points for level, points in proposed._asdict().items()},
            },
        )
        return recorded_of(rows)


def recorded_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The body of the API, from counts by the level now and as proposed."""
    counted = [(str(row["now"]), str(row["then"]), int(row["requests"])) for row in rows]
    return {
        "prompts": sum(count for *_, count in counted),
        "by_level": [
            {
                "level": level,
                "present": sum(count for now, _, count in counted if now == level),
                "proposed": sum(count for _, then, count in counted if then == level),
            }
            for level in LEVELS
        ],
        "raised": sum(c for now, then, c in counted if LEVELS.index(then) > LEVELS.index(now)),
        "lowered": sum(c for now, then, c in counted if LEVELS.index(then) < LEVELS.index(now)),
    }


def _level_sql(which: str) -> str:
    """The arms of a multiIf that names the level of risk_score."""
    arms = [f"risk_score >= {{{which}_{level}:Float64}}, '{level}'" for level in reversed(LEVELS[1:])]
    return ", ".join([*arms, "'none'"])


def _told(one: Candidate) -> dict[str, Any]:
    return {
        "threshold": one.threshold,
        "alarms": one.alarms,
        "false_alarms": one.false_alarms,
        "false_alarm_rate": one.share,
        "interval": {"low": one.low, "high": one.high},
    }
