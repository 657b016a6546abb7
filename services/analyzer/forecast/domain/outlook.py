"""What a round works out for one subject: forecasts of its figures, and its anomalies."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from services.analyzer.anomalies.domain.traffic import SUMS, Anomaly, Sums, Traffic, anomalies_of
from services.analyzer.forecast.domain.figures import FIGURES, HORIZONS
from services.analyzer.forecast.domain.forecast import Forecast, forecasts


def outlook_of(job: Mapping[str, Any]) -> dict[str, Any]:
    """`{"forecasts": […], "anomalies": […]}`, as JSON has it, of a subject's history:
    `first_hour` (since 1970), `zone`, `sums` by name and `parts` by dimension and value, one
    number an hour each; anomalies that last beyond the hour `since`.

    Raises:
        KeyError, ValueError: the job is not of this form.
    """
    traffic = Traffic(
        _sums(job["sums"]),
        int(job["first_hour"]),
        str(job["zone"]),
        {
            dimension: {value: _sums(sums) for value, sums in values.items()}
            for dimension, values in job["parts"].items()
        },
    )
    return {
        "forecasts": [
            _forecast(one, hours)
            for figure in FIGURES
            for one, hours in zip(forecasts(traffic.series(figure), HORIZONS), HORIZONS, strict=True)
        ],
        "anomalies": [_anomaly(one) for one in anomalies_of(traffic, since=int(job["since"]))],
    }


def _sums(given: Mapping[str, Any]) -> Sums:
    return {name: np.asarray(given[name], dtype=np.float64) for name in SUMS}


def _forecast(one: Forecast, hours: int) -> dict[str, Any]:
    return {
        "figure": one.name,
        "hours": hours,
        "method": one.method,
        "baseline": one.baseline,
        "beats_baseline": one.beats_baseline,
        "error": _known(one.trust.error),
        "baseline_error": _known(one.trust.baseline_error),
        "coverage80": _known(one.trust.coverage80),
        "coverage95": _known(one.trust.coverage95),
        "origins": one.trust.origins,
        "known_hours": one.known_hours,
        "notes": list(one.notes),
        "expected": [
            [each.hour, each.median, each.low80, each.high80, each.low95, each.high95]
            for each in one.expected
        ],
    }


def _anomaly(one: Anomaly) -> dict[str, Any]:
    episode = one.episode
    return {
        "method": one.method,
        "figure": episode.name,
        "kind": "combination" if one.method == "joint" else episode.kind,
        **{
            name: getattr(episode, name)
            for name in (
                *("side", "found", "first", "last", "peak_hour", "observed", "expected", "low", "high"),
                *("score", "total_observed", "total_expected"),
            )
        },
        "drivers": [
            [each.dimension, each.value, each.observed, each.expected, each.share] for each in one.drivers
        ],
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
