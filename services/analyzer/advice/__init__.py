"""Recommendations: explicit rules over stored facts (docs/concepts/analytics/recommendations.md)."""
