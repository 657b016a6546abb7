"""`tocsin doctor`: is everything there, is it as it should be, is anything lost; and
what to do where it is not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.topics import TOPICS
from services.analyzer.audit.anchors import read_anchors
from services.analyzer.audit.domain.anchoring import fault_of, newest
from services.analyzer.audit.table import StoredAuditTable
from services.common.bus.administration.inspection import lag, topic_state
from services.common.control.reader import read_control_state
from services.common.errors import BusUnavailableError, StoreUnavailableError, TocsinError
from services.common.process.settings import CommonSettings
from services.common.requests.model_catalogue import ModelConfig
from services.common.store import Store, StoreMisconfiguredError
from services.common.store.migrations import migration_states

_GROUPS = {"recorder": "recorder", "audit": "audit"}
"""Who records a counted topic, as schemas.topics names it, with its consumer group."""
_STORE_TIMEOUT_S = 10.0
_BUS_TIMEOUT_S = 10.0
_REMEDIES: Mapping[type[TocsinError], str] = {
    BusUnavailableError: "start Kafka, or mend TOCSIN_KAFKA_URL",
    StoreMisconfiguredError: "run `tocsin migrate`",
    StoreUnavailableError: "start ClickHouse, or mend TOCSIN_CLICKHOUSE_URL; if it is only busy, ask again",
}
"""By what failed, the more particular first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `remedy` says what to do where it is not `ok`."""

    check: str
    ok: bool
    detail: str
    remedy: str = ""


async def examine(
    settings: CommonSettings, models: Sequence[ModelConfig], groups: Mapping[str, str] = _GROUPS
) -> list[Finding]:
    """Runs every check; one that fails does not keep the others from running."""
    store = Store(settings.clickhouse_url, name="tocsin-doctor", timeout_s=_STORE_TIMEOUT_S)
    checks: dict[str, Callable[[], Awaitable[Finding]]] = {
        "topics": lambda: _topics(settings, models),
        "recorder": lambda: _recorder(settings, groups),
        "control": lambda: _control(settings),
        "migrations": lambda: _migrations(settings),
        "store": lambda: _store(store),
        "ledger": lambda: _ledger(store),
        "rollups": lambda: _rollups(store),
        "dead letters": lambda: _dead_letters(store),
        "audit": lambda: _audit(settings, store),
    }
    try:
        return [await _run(name, check) for name, check in checks.items()]
    finally:
        await store.close()


def report(findings: Sequence[Finding]) -> str:
    """The findings as a table, with what to do below those that are not well."""
    width = max(len(one.check) for one in findings)
    lines = []
    for one in findings:
        lines.append(f"{'ok  ' if one.ok else 'FAIL'}  {one.check:<{width}}  {one.detail}")
        if not one.ok and one.remedy:
            lines.append(f"{'':<{width + 8}}-> {one.remedy}")
    return "\n".join(lines)


def exit_code(findings: Sequence[Finding]) -> int:
    """0 if all is well, else 1."""
    return int(not all(one.ok for one in findings))


async def _run(name: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await check()
    except TocsinError as error:
        return Finding(name, ok=False, detail=str(error), remedy=remedy_of(error))


def remedy_of(error: TocsinError) -> str:
    """What to do about a check that could not be made; empty where its message says it."""
    return next((remedy for kind, remedy in _REMEDIES.items() if isinstance(error, kind)), "")


async def _topics(settings: CommonSettings, models: Sequence[ModelConfig]) -> Finding:
    state = await topic_state(settings.kafka_url, models, settings.partition_scale)
    if state.missing:
        return Finding(
            "topics",
            ok=False,
            detail=f"{len(state.missing)} of {state.wanted} are missing: {', '.join(state.missing)}",
            remedy="run `tocsin topics`",
        )
    if state.too_few_partitions:
        return Finding(
            "topics",
            ok=False,
            detail=f"too few partitions: {', '.join(state.too_few_partitions)}",
            remedy="lower TOCSIN_PARTITION_SCALE, or add partitions with kafka-topics --alter while "
            "nothing is in flight",
        )
    return Finding("topics", ok=True, detail=f"all {state.wanted} are there")


async def _recorder(settings: CommonSettings, groups: Mapping[str, str]) -> Finding:
    behind: dict[str, int] = {}
    for consumer, group in groups.items():
        topics = [topic.name for topic in TOPICS if topic.ledger and consumer in topic.consumers]
        behind |= await lag(settings.kafka_url, group, topics)
    ok = all(count < 10_000 for count in behind.values())
    waiting = [f"{count} behind on {topic}" for topic, count in sorted(behind.items()) if count]
    recorded = f"{len(behind) - len(waiting)} of {len(behind)} topics to their end"
    detail = "; ".join([recorded, *waiting]) if behind else "no topics yet"
    if waiting and ok:
        detail += " (a transaction's mark, which is no event, counts)"
    return Finding(
        "recorder",
        ok=ok,
        detail=detail,
        remedy="look at the analyzer's log and /ready: it may be waiting for the store",
    )


async def _control(settings: CommonSettings) -> Finding:
    """Keys that every gateway refuses for want of a signature, and records that nobody
    here understands.
    """
    try:
        async with asyncio.timeout(_BUS_TIMEOUT_S):
            state = await read_control_state(settings.kafka_url)
    except TimeoutError as error:
        raise BusUnavailableError(f"the control topic was not read within {_BUS_TIMEOUT_S} s") from error
    unsigned = sorted(key.key_id for key in state.keys.values() if not key.record_mac)
    if unsigned:
        return Finding(
            "control",
            ok=False,
            detail=f"{len(unsigned)} keys are from before records were signed: {', '.join(unsigned[:5])}",
            remedy="make new ones with `tocsin keys create` and remove these with `tocsin keys purge`",
        )
    skipped = state.skipped
    counts = (
        (skipped.unknown_kind, "of unknown kinds"),
        (skipped.unreadable, "unreadable"),
        (skipped.stale, "older than what is known"),
    )
    passed_over = ", ".join(f"{count} {what}" for count, what in counts if count)
    return Finding(
        "control",
        ok=not (skipped.unreadable or skipped.stale),
        detail=f"{len(state.keys)} keys, {len(state.tenants)} tenants"
        + (f"; passed over: {passed_over}" if passed_over else ""),
        remedy="see who else writes to control.changes.v1",
    )


async def _migrations(settings: CommonSettings) -> Finding:
    states = await asyncio.to_thread(migration_states, settings.clickhouse_url)
    changed = [one.name for one in states if one.state in ("changed", "unknown")]
    if changed:
        return Finding(
            "migrations",
            ok=False,
            detail=f"not what the store was built with: {', '.join(changed)}",
            remedy="check out the release that this store belongs to",
        )
    pending = [one.name for one in states if one.state == "pending"]
    if pending:
        return Finding(
            "migrations", ok=False, detail=f"pending: {', '.join(pending)}", remedy="run `tocsin migrate`"
        )
    return Finding("migrations", ok=True, detail=f"all {len(states)} are applied")


async def _store(store: Store) -> Finding:
    state = await store.confinement()
    if state is None:
        return Finding("store", ok=True, detail="a ClickHouse server")
    if state.startswith("none"):
        # Not a fault of the installation: the other fences hold, and nothing can be run
        # that would build this one.
        return Finding("store", ok=True, detail=f"embedded, its process is not confined ({state})")
    return Finding("store", ok=True, detail=f"embedded, confined to its own files ({state})")


async def _ledger(store: Store) -> Finding:
    total = (
        await store.query(
            "SELECT count() AS sources, sum(rows) AS events, sum(gaps) AS gaps, sum(doubles) AS doubles "
            "FROM v_ledger"
        )
    )[0]
    worst = await store.query(
        "SELECT topic, source, first, last, gaps, doubles FROM v_ledger WHERE gaps != 0 OR doubles != 0 "
        "ORDER BY gaps + doubles DESC LIMIT 5"
    )
    if worst:
        listed = "; ".join(
            f"{one['source']} on {one['topic']}: {one['gaps']} missing, {one['doubles']} doubled up to "
            f"number {one['last']}"
            for one in worst
        )
        return Finding(
            "ledger",
            ok=False,
            detail=f"{total['gaps']} events are missing and {total['doubles']} doubled: {listed}",
            remedy="if the recorder is behind, run this again when it has caught up; otherwise keep the "
            "topic and report it",
        )
    return Finding(
        "ledger",
        ok=True,
        detail=f"{total['events']} events of {total['sources']} producers, none missing, none doubled",
    )


async def _rollups(store: Store) -> Finding:
    wrong = await _lasting(
        store,
        "SELECT rollup_of, began_at, in_table, in_rollup FROM v_rollups WHERE in_table != in_rollup "
        "ORDER BY began_at LIMIT 5",
    )
    if wrong:
        listed = "; ".join(
            f"{one['began_at']:%Y-%m-%d %H:00}: {one['in_table']} rows, "
            f"{one['in_rollup']} by {one['rollup_of']}"
            for one in wrong
        )
        return Finding(
            "rollups",
            ok=False,
            detail=f"they disagree with the table: {listed}",
            remedy="run this again; if it stays, rebuild the hours named from the table: docs/adr/0020 says "
            "how",
        )
    return Finding("rollups", ok=True, detail="they agree with the table")


async def _lasting(store: Store, sql: str) -> list[dict[str, Any]]:
    """What a query finds three times in a row: while a block is being written, the
    table and its rollups differ for a moment.
    """
    found: list[dict[str, Any]] = []
    for pause_s in (0.0, 0.5, 1.5):
        await asyncio.sleep(pause_s)
        found = await store.query(sql)
        if not found:
            break
    return found


async def _dead_letters(store: Store) -> Finding:
    rows = await store.query(
        "SELECT origin_topic, consumer, count() AS n FROM v_dead_letters WHERE first_failed_at > now() - "
        "INTERVAL 1 DAY GROUP BY ALL ORDER BY n DESC"
    )
    if rows:
        listed = ", ".join(f"{one['n']} by {one['consumer']} on {one['origin_topic']}" for one in rows)
        return Finding(
            "dead letters", ok=True, detail=f"in the last day: {listed}; `tocsin dlq list` shows them"
        )
    return Finding("dead letters", ok=True, detail="none in the last day")


async def _audit(settings: CommonSettings, store: Store) -> Finding:
    """Whether each chain still has the row that was anchored last: where it has not, the
    audit role publishes no further anchor of it.
    """
    former = newest(await read_anchors(settings.kafka_url, "tocsin-doctor", connect_timeout_s=_BUS_TIMEOUT_S))
    states = await StoredAuditTable(store).states({chain: one.position for chain, one in former.items()})
    faults = {chain: fault_of(state, former.get(chain)) for chain, state in sorted(states.items())}
    wrong = [f"{chain}: {fault}" for chain, fault in faults.items() if fault]
    if wrong:
        return Finding(
            "audit",
            ok=False,
            detail=f"{len(wrong)} of {len(states)} chains are not what was anchored: {'; '.join(wrong[:3])}",
            remedy="run `tocsin audit verify`, which names the first wrong row; docs/concepts/audit.md says "
            "how to go on",
        )
    rows = sum(state.rows for state in states.values())
    anchored = sum(one.position + 1 for one in former.values())
    return Finding("audit", ok=True, detail=f"{rows} entries in {len(states)} chains, {anchored} anchored")
