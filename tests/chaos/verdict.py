"""What the clients received against what the store recorded."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from tests.chaos.client import Stream


def verdict(
    streams: Iterable[Stream],
    rows: Mapping[str, int],
    ledger: Mapping[str, int],
    rollups: Mapping[str, int],
    refusals: Collection[str] = (),
) -> dict[str, Any]:
    """The figures of a run.

    `rows` maps request ids to how many rows the store has; `refusals` are the ids of
    requests that a gateway ended itself, as their clients were told. A request counts as started
    once its client has its id; one whose gateway died before that may be recorded all
    the same (`unacknowledged`), since its end is a fact, and its client was told
    nothing.
    """
    all_streams = list(streams)
    started = [one for one in all_streams if one.request_id]
    pauses = [pause for one in started for pause in one.pauses]
    broken = [one for one in started if not one.is_whole]
    return {
        "asked": len(all_streams),
        "refused": sum(one.refused for one in all_streams),
        "started": len(started),
        "completed": sum(one.is_whole for one in started),
        "broken_streams": len(broken),
        "broken": [describe(one) for one in broken[:10]],
        "reattached": sum(one.reattached for one in started),
        "ended_by_gateways": len(refusals),
        "lost": sum(one.request_id not in rows for one in started) + sum(id_ not in rows for id_ in refusals),
        "doubled": sum(count > 1 for count in rows.values()),
        "unacknowledged": len(rows.keys() - {one.request_id for one in started}.union(refusals)),
        "rows": sum(rows.values()),
        "gaps": ledger["gaps"],
        "ledger_doubles": ledger["doubles"],
        "rollups_agree": rollups["per_minute"] == rollups["per_hour"] == sum(rows.values()),
        "disturbed": len(pauses),
        "resume_p50_s": _percentile(pauses, 50),
        "resume_p95_s": _percentile(pauses, 95),
    }


def is_exact(found: Mapping[str, Any]) -> bool:
    """Nothing lost, doubled, broken or missing."""
    zero = ("broken_streams", "lost", "doubled", "gaps", "ledger_doubles")
    return all(found[name] == 0 for name in zero) and bool(found["rollups_agree"]) and found["started"] > 0


def describe(stream: Stream) -> dict[str, Any]:
    """A broken stream, for whoever looks for the cause."""
    common = next(
        (at for at, (mine, due) in enumerate(zip(stream.text, stream.expected, strict=False)) if mine != due),
        min(len(stream.text), len(stream.expected)),
    )
    return {
        "request_id": stream.request_id,
        "finished": stream.finished,
        "error": stream.error,
        "reattached": stream.reattached,
        "received": len(stream.text),
        "expected": len(stream.expected),
        "same_until": common,
    }


def _percentile(values: list[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 2) if values else None
