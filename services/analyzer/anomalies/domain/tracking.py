"""Which anomalies of a round are those that were told before, and which last. Pure.

Episodes are found anew each hour, in a history that moves on; one that overlaps what was
told of the same subject, figure and side keeps its id, however its hours have changed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Anomaly = Mapping[str, Any]
"""One of `services.analyzer.forecast.domain.outlook`."""

CALM = 3
"""Hours without anything unusual after which an anomaly is over."""


@dataclass(frozen=True, slots=True)
class Known:
    """An anomaly that was told."""

    anomaly_id: str
    tenant: str
    model: str
    method: str
    figure: str
    side: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Tracked:
    """An anomaly of a subject with its id; `lasts` where it is not over."""

    anomaly_id: str
    tenant: str
    model: str
    anomaly: Anomaly
    lasts: bool


def track(
    tenant: str, model: str, found: Sequence[Anomaly], known: Sequence[Known], *, as_of: int
) -> list[Tracked]:
    """A subject's anomalies as of an hour (the first that is not known yet)."""
    left = [one for one in known if (one.tenant, one.model) == (tenant, model)]
    tracked = []
    for anomaly in found:
        same = next((one for one in left if _is_same(one, anomaly)), None)
        if same is not None:
            left.remove(same)
        anomaly_id = same.anomaly_id if same else _new_id(tenant, model, anomaly)
        lasts = anomaly["kind"] != "drift" and as_of - 1 - anomaly["last"] <= CALM
        tracked.append(Tracked(anomaly_id, tenant, model, anomaly, lasts))
    return tracked


def _is_same(known: Known, anomaly: Anomaly) -> bool:
    told = (known.method, known.figure, known.side)
    return told == (anomaly["method"], anomaly["figure"], anomaly["side"]) and (
        known.first <= anomaly["last"] + CALM and anomaly["first"] <= known.last + CALM
    )


def _new_id(tenant: str, model: str, anomaly: Anomaly) -> str:
    """Follows from what it is: who does the same round again gives it the same."""
    parts = (tenant, model, *[str(anomaly[name]) for name in ("method", "figure", "side", "found")])
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
