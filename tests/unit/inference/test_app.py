"""The inference service's own view of the status topic."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
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
