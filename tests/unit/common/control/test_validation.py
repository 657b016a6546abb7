"""Numbers and time zones that do not mean the same everywhere are refused."""

from dataclasses import dataclass
from typing import Any

import pytest

from schemas.control import PolicyChanged, RouteChanged, RouteTarget, Subject, ThresholdsChanged
from services.common.control import changes
from services.common.control.errors import InvalidChangeError
from tests.unit.common.control.entries import NOW, budget, state_of, tenant


@dataclass(frozen=True)
class Route:
    """A route's numbers."""

    weight: float = 1.0
    below: float | None = None

    @property
    def entry(self) -> RouteChanged:
        """The route."""
        target = RouteTarget(model="m", weight=self.weight)
        return RouteChanged(route="r", targets=(target,), cascade_below=self.below)


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (Route(below=float("-inf")).entry, "cascade_below"),
        (Route(below=float("inf")).entry, "cascade_below"),
        (Route(below=float("nan")).entry, "cascade_below"),
        (Route(weight=1e-320).entry, "targets"),
        (Route(weight=1e308).entry, "targets"),
        (Route(weight=float("nan")).entry, "targets"),
        (tenant("x", share=1e-320), "share"),
        (tenant("x", share=0.009), "share"),
        (PolicyChanged(inspection_ms=float("inf")), "inspection_ms"),
        (ThresholdsChanged(critical=float("inf")), "critical"),
        *(
            (budget(time_zone=one), "time_zone")
            for one in ("localtime", "Factory", "posixrules", "right/UTC")
        ),
    ],
)
def test_value_that_means_nothing_or_another_thing_elsewhere_is_refused(entry: Any, field: str) -> None:
    """By its field, made or put."""
    for change in (changes.create(entry), changes.put(entry)):
        with pytest.raises(InvalidChangeError) as refused:
            change(state_of(tenant()), NOW)
        assert refused.value.field == field


@pytest.mark.parametrize(
    "entry",
    [
        Route(below=-1.5).entry,
        Route(weight=1e-6).entry,
        tenant("x", share=0.01),
        budget(subject=Subject(kind="model", id="m"), time_zone="Asia/Kathmandu"),
    ],
)
def test_value_at_its_edge_is_taken(entry: Any) -> None:
    """The least that counts."""
    assert changes.create(entry)(state_of(tenant()), NOW).after is not None
