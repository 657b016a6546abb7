"""What is anchored, and when not. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.events.audit import ChainAnchored
from services.analyzer.audit.domain.chain import Head


@dataclass(frozen=True, slots=True)
class ChainState:
    """A chain as the store has it: its newest row, how many rows it has (two at one
    place are two), and the hashes at the place of its newest former anchor.
    """

    head: Head
    rows: int
    at_anchor: frozenset[str]


def newest(anchors: Iterable[ChainAnchored]) -> dict[str, ChainAnchored]:
    """The anchor of the highest position, by chain."""
    found: dict[str, ChainAnchored] = {}
    for one in anchors:
        if one.chain not in found or one.position >= found[one.chain].position:
            found[one.chain] = one
    return found


def fault_of(state: ChainState, former: ChainAnchored | None) -> str:
    """Why a chain is not anchored; empty where nothing speaks against it."""
    if former is not None and state.at_anchor != {former.hash}:
        there = "nothing" if not state.at_anchor else " and ".join(sorted(state.at_anchor))
        return (
            f"position {former.position} was anchored as {former.hash} "
            f"(at {former.anchored_at:%Y-%m-%d %H:%M}), and the store has {there} there"
        )
    if state.rows != state.head.position + 1:
        return f"its newest row is at position {state.head.position}, and it has {state.rows} rows"
    return ""


def next_anchor(
    chain: str, state: ChainState, former: ChainAnchored | None, *, now: datetime, interval_s: float
) -> ChainAnchored | None:
    """What is to be published; None where the newest row is anchored already, or the
    present interval has its anchor.
    """
    began = interval_began(now, interval_s)
    if former is not None and (former.position >= state.head.position or former.anchored_at >= began):
        return None
    return ChainAnchored(
        chain=chain, position=state.head.position, hash=state.head.hash, rows=state.rows, anchored_at=began
    )


def interval_began(now: datetime, interval_s: float) -> datetime:
    """When the interval began that `now` is in: the same for whoever asks."""
    interval_ms = max(1, round(interval_s * 1000))
    now_ms = int(now.timestamp() * 1000)
    return datetime.fromtimestamp((now_ms - now_ms % interval_ms) / 1000, UTC)


def by_position(anchors: Iterable[ChainAnchored]) -> Mapping[str, list[tuple[int, str]]]:
    """Positions and hashes by chain, for `verify`."""
    found: dict[str, list[tuple[int, str]]] = {}
    for one in anchors:
        found.setdefault(one.chain, []).append((one.position, one.hash))
    return found
