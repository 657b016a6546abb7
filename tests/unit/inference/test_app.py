"""The inference service's own view of the status topic."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import orjson
import pytest
from prometheus_client import REGISTRY

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Sample

    from services.inference.app import InferenceApp

EXAMPLES = Path(__file__).parents[3] / "schemas" / "examples" / "inference.status.v1"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> "InferenceApp":
    """A service that is not started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, at its first import
        from services.inference.app import InferenceApp
        from services.inference.settings import Settings
    monkeypatch.setenv("TOCSIN_KAFKA_URL", "127.0.0.1:1")
    return InferenceApp(Settings.load(), ())


@pytest.mark.parametrize(
    "value",
    [
        b'{"kind":"defragmented","replica_id":"m#1"}',
        b'{"kind":"beat"}',
        b"{}",
        b"[]",
        b"\xff\xfe",
        b"",
        None,
        b'{"kind":["beat"]}',
    ],
)
def test_status_that_this_version_cannot_use_is_passed_over(app: "InferenceApp", value: bytes | None) -> None:
    """A rolling upgrade must not end the service, nor must a record of somebody else's."""
    app._on_status(SimpleNamespace(value=value, partition=0, offset=7))  # type: ignore[arg-type]
    assert app.processes() == []


def test_beat_makes_its_replica_known(app: "InferenceApp") -> None:
    """As the example in schemas says it."""
    beat = (EXAMPLES / "beat.json").read_bytes()
    app._on_status(SimpleNamespace(value=beat, partition=0, offset=7))  # type: ignore[arg-type]
    assert [one["role"] for one in app.processes()] == ["replica"]


def finished(**end: object) -> bytes:
    """An attempt's end as a replica says it."""
    said = {"outcome": "completed", "generation_ms": 1500.0} | end
    left = {name: value for name, value in said.items() if value is not None}
    return (
        b'{"kind":"finished","model":"small","request_id":"r","attempt":1,"end":' + orjson.dumps(left) + b"}"
    )


def counted(status: str) -> float:
    """How many attempts of the model count so."""
    return REGISTRY.get_sample_value("inference_requests_total", {"model": "small", "status": status}) or 0.0


def test_attempts_ends_are_counted_by_model_and_outcome() -> None:
    """What another attempt takes up is no end, and its time counts all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, at its first import
        from services.inference.app import measure_finished
    before = {status: counted(status) for status in ("completed", "failed", "retried")}
    for value in (finished(), finished(outcome="failed"), finished(outcome="failed", retryable=True)):
        measure_finished(value, {"small"})
    assert {status: counted(status) - count for status, count in before.items()} == {
        "completed": 1.0,
        "failed": 1.0,
        "retried": 1.0,
    }
    seconds = REGISTRY.get_sample_value("inference_latency_seconds_sum", {"model": "small"})
    assert seconds is not None
    assert seconds >= 4.5
    for example in EXAMPLES.glob("finished*.json"):
        told = orjson.dumps(orjson.loads(example.read_bytes()))
        measure_finished(told, {orjson.loads(told)["model"]})


@pytest.mark.parametrize(
    "value",
    [
        finished(outcome="exploded"),
        finished(outcome=None),
        b'{"kind":"finished"',
        b'{"kind":"finished","model":"small","end":7}',
        b'{"kind":"finished","model":["small"],"end":{"outcome":"completed"}}',
        finished(generation_ms="long"),
    ],
)
def test_attempts_end_that_says_something_else_makes_no_new_series(value: bytes) -> None:
    """Models and outcomes are those that are known, or a stranger could make millions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, at its first import
        from services.inference.app import measure_finished
    measure_finished(value, {"other"})
    measure_finished(value.replace(b"small", b"x" * 9), {"small"})
    series = {tuple(sorted(sample.labels.items())) for sample in samples_of("inference_requests")}
    known = {"completed", "cancelled", "expired", "failed", "blocked", "cache_hit", "retried"}
    assert {dict(labels)["status"] for labels in series} <= known
    assert not any("x" * 9 in dict(labels)["model"] for labels in series)


def samples_of(name: str) -> "list[Sample]":
    """A metric's samples."""
    return [sample for metric in REGISTRY.collect() if metric.name == name for sample in metric.samples]
