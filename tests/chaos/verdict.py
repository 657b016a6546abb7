"""What the clients received against what the store recorded."""

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from tests.chaos.client import Stream

INPUT_USD, OUTPUT_USD = Decimal(1), Decimal(2)
"""What a million tokens of the models of these tests cost."""


class Spent(NamedTuple):
    """A request's tokens and dollars."""

    prompt_tokens: int
    completion_tokens: int
    usd: Decimal


def verdict(
    streams: Iterable[Stream],
    rows: Mapping[str, int],
    ledger: Mapping[str, int],
    rollups: Mapping[str, int],
    *,
    refusals: Collection[str] = (),
    spent: Mapping[str, Spent] | None = None,
) -> dict[str, Any]:
    """The figures of a run.

    `rows` maps request ids to how many rows the store has; `refusals` are the ids of
    requests that a gateway ended itself, as their clients were told. A request counts as started
    once its client has its id; one whose gateway died before that may be recorded all
    the same (`unacknowledged`), since its end is a fact, and its client was told
    nothing. `spent` has what the store says that each request used and cost: not a token
    and not the least part of a cent but what its client was told.
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
        **_money(started, refusals, spent),
        "rollups_agree": rollups["per_minute"] == rollups["per_hour"] == sum(rows.values()),
        "disturbed": len(pauses),
        "resume_p50_s": _percentile(pauses, 50),
        "resume_p95_s": _percentile(pauses, 95),
    }


def _money(
    started: Iterable[Stream], refusals: Collection[str], spent: Mapping[str, Spent] | None
) -> dict[str, Any]:
    """What clients' own counts come to at the price, against the store's costs;
    `mispriced` is None where there was nothing to compare.
    """
    told = {one.request_id: one.usage for one in started if one.usage}
    due = {
        request_id: Spent(
            usage["prompt_tokens"],
            usage["completion_tokens"],
            (INPUT_USD * usage["prompt_tokens"] + OUTPUT_USD * usage["completion_tokens"]) / 1_000_000,
        )
        for request_id, usage in told.items()
    } | {request_id: Spent(0, 0, Decimal(0)) for request_id in refusals}
    compared, recorded = spent is not None and bool(due), spent or {}
    wrong = sum(recorded.get(request_id) != one for request_id, one in due.items())
    return {
        "mispriced": wrong if compared else None,
        "observed_usd": str(sum((one.usd for one in due.values()), Decimal(0))),
        "recorded_usd": str(sum((recorded[one].usd for one in due if one in recorded), Decimal(0))),
    }


def is_exact(found: Mapping[str, Any]) -> bool:
    """Nothing lost, doubled, broken or missing."""
    zero = ("broken_streams", "lost", "doubled", "gaps", "ledger_doubles", "mispriced")
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
