"""Which figures have thresholds."""

from datetime import timedelta

from services.analyzer.kpi.domain.breaches import Rule
from services.analyzer.kpi.domain.grid import WINDOW
from services.analyzer.settings import Settings

ERROR_RATE, LATENCY, SATISFACTION, THREATS = "error_rate", "latency_p95_s", "satisfaction", "threats"
SATISFACTION_WINDOW = timedelta(hours=24)
_FEWEST = 20


def rules_of(settings: Settings) -> dict[str, Rule]:
    """The thresholds of an installation, by metric."""
    rules = (
        Rule(THREATS, settings.alert_security_threshold, "above", WINDOW, "requests with a finding"),
        Rule(LATENCY, settings.alert_latency_threshold, "above", WINDOW, "answered requests", _FEWEST),
        Rule(ERROR_RATE, settings.alert_error_rate_threshold, "above", WINDOW, "requests", _FEWEST, 3),
        Rule(
            SATISFACTION,
            settings.alert_satisfaction_threshold,
            "below",
            SATISFACTION_WINDOW,
            "ratings",
            _FEWEST,
            3,
        ),
    )
    return {one.metric: one for one in rules}
