"""The names, units and labels of metrics, by Prometheus' own rules, and that dashboards
and alerts ask for metrics that there are.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Metric, generate_latest

from services.common.process import metrics

ROOT = Path(__file__).resolve().parents[3]
MISSION = {
    "llm_requests": ("model", "status"),
    "llm_request_latency_seconds": ("model",),
    "llm_active_requests": (),
    "llm_tokens_generated": ("model",),
    "inference_requests": ("model", "status"),
    "inference_latency_seconds": ("model",),
    "model_performance_score": ("model",),
    "security_threats": ("category", "level"),
}
BOUNDED = {
    *("model", "status", "lane", "replica", "route", "reason", "why", "topic", "group", "table", "kind"),
    *("outcome", "part", "state", "dependency", "subject", "limit", "period", "event", "result"),
    *("category", "level", "partition", "depth", "figure", "metric", "change", "rule"),
}
"""Labels whose values are few: of the catalogue, of an enumeration, of the deployment."""


def ours() -> list[Metric]:
    """Every metric of Tocsin's."""
    assert metrics.LLM_REQUESTS
    names = ("tocsin_", "llm_", "inference_", "model_", "security_")
    return [metric for metric in REGISTRY.collect() if metric.name.startswith(names)]


def labels_of(name: str) -> tuple[str, ...]:
    """A metric's labels."""
    collector = next(one for one, names in REGISTRY._collector_to_names.items() if name in names)
    return tuple(collector._labelnames)  # type: ignore[attr-defined]


def test_metrics_of_the_mission_are_there_with_their_labels() -> None:
    """Dashboards for language models look for them by name."""
    assert {name: labels_of(name) for name in MISSION} == MISSION


def test_every_name_and_label_keeps_to_the_rules() -> None:
    """Plain names, base units, a sentence each, and no label that anybody may fill."""
    for metric in ours():
        assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", metric.name), metric.name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|count|sum|bucket)(_|$)", metric.name), (
            metric.name
        )
        assert metric.documentation.endswith("."), metric.name
        assert metric.type != "gauge" or not metric.name.endswith("_total"), metric.name
        assert metric.type != "histogram" or metric.name.endswith(("_seconds", "_bytes")), metric.name
        assert set(labels_of(metric.name)) <= BOUNDED, (metric.name, labels_of(metric.name))


def test_promtool_finds_nothing_wrong() -> None:
    """As Prometheus itself lints them; with a sample of each."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    for metric in ours():
        collector = next(one for one, names in REGISTRY._collector_to_names.items() if metric.name in names)
        if names := collector._labelnames:  # type: ignore[attr-defined]
            collector.labels(*(f"linted-{name}" for name in names))  # type: ignore[attr-defined]
    try:
        checked = subprocess.run(
            [promtool, "check", "metrics"],
            input=generate_latest(REGISTRY),
            capture_output=True,
            check=False,
            timeout=30,
        )
    finally:
        for metric in ours():
            collector = next(
                one for one, names in REGISTRY._collector_to_names.items() if metric.name in names
            )
            if names := collector._labelnames:  # type: ignore[attr-defined]
                collector.remove(*(f"linted-{name}" for name in names))  # type: ignore[attr-defined]
    assert (checked.returncode, checked.stderr.decode() + checked.stdout.decode()) == (0, "")


def test_dashboards_and_alerts_ask_for_metrics_that_there_are() -> None:
    """A metric that was renamed leaves no panel empty."""
    known = {name for names in REGISTRY._collector_to_names.values() for name in names}
    asked = (ROOT / "infra/prometheus/rules.yml").read_text()
    for dashboard in (ROOT / "infra/grafana/dashboards").glob("*.json"):
        panels = json.loads(dashboard.read_text())["panels"]
        asked += " ".join(target["expr"] for panel in panels for target in panel.get("targets", ()))
    wanted = set(re.findall(r"\b(?:tocsin|llm|inference|model)_[a-z_]+\b", asked))
    assert wanted
    assert wanted <= known
