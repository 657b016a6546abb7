"""Anchors, and the proof by `tocsin audit verify`, on a real Kafka and the embedded store."""

import asyncio
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from schemas.events.audit import ChainAnchored
from schemas.topics import AUDIT
from services.analyzer.audit.anchors import read_anchors
from services.analyzer.audit.domain.chain import AuditRow, replace_hash
from services.analyzer.audit.examination import Examined, examine
from services.analyzer.audit.log_comparison import AuditLog
from services.analyzer.audit.table import AUDIT_ROWS, StoredAuditTable
from services.cli.app import app
from services.cli.doctor import Finding
from services.cli.doctor import examine as examine_installation
from services.common.bus import Outgoing
from services.common.process.settings import CommonSettings
from services.common.store import Store
from services.embedded.installation.ports import free_port
from tests.support.analyzer.audit_fakes import chain, entry
from tests.support.analyzer.recorder_scene import Scene
from tests.support.analyzer.recording import (
    EPOCH,
    CountingProducer,
    RecorderProcess,
    eventually,
    fresh_database,
)
from tests.support.store import RunningStore

pytestmark = pytest.mark.timeout(300)
_SCRIPT = Path(__file__).resolve().parents[3] / "docs" / "concepts" / "audit_verify.py"
_ROWS = chain(9, holes=3)
_FIELDS = [one.name for one in dataclasses.fields(AuditRow)]
_PLACES = st.integers(0, len(_ROWS) - 1)
_ANCHOR = ChainAnchored(
    chain=_ROWS[0].chain, position=8, hash=_ROWS[8].hash, rows=9, anchored_at=EPOCH + timedelta(hours=1)
)

Tocsin = Callable[..., Result]


@pytest.fixture(scope="module")
def database(store: RunningStore) -> str:
    """A database of this module's own."""
    return fresh_database(store)


async def _proven(database: str, rows: Sequence[AuditRow]) -> list[Examined]:
    """What the command finds where the table has these rows and no others."""
    door = Store(database)
    try:
        await door.command("TRUNCATE TABLE audit_log")
        await door.insert(AUDIT_ROWS.table, [AUDIT_ROWS.row(row) for row in rows], token=uuid4().hex)
        return await examine(StoredAuditTable(door), [_ANCHOR])
    finally:
        await door.close()


async def test_whole_table_is_proven_over_pages(database: str) -> None:
    """Page by page as in one; what is anchored is told."""
    (found,) = await _proven(database, chain(11, holes=3))
    assert (found.first_break, found.rows, found.anchored) == (None, 11, 9)
    door = Store(database)
    pages = [page async for page in StoredAuditTable(door).rows(_ROWS[0].chain, page=4)]
    await door.close()
    assert [len(page) for page in pages] == [4, 4, 3]
    assert [row for page in pages for row in page] == chain(11, holes=3)


def _other(value: Any) -> Any:
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    return value + 1 if isinstance(value, int) else value - timedelta(milliseconds=1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=_PLACES, name=st.sampled_from(_FIELDS), rehash=st.booleans())
async def test_any_altered_column_of_any_stored_row_is_found(
    database: str,
    place: int,
    name: str,
    rehash: bool,  # noqa: FBT001
) -> None:
    """Also where the forger computes the row's own hash anew. `recorded_at` alone is not
    the chain's: the store's note of when it took a row.
    """
    forged = dataclasses.replace(_ROWS[place], **{name: _other(getattr(_ROWS[place], name))})
    forged = replace_hash(forged) if rehash and name != "hash" else forged
    found = await _proven(database, [*_ROWS[:place], forged, *_ROWS[place + 1 :]])
    broken = [one.first_break for one in found if one.first_break is not None]
    assert broken
    assert min(one.position for one in broken) in (0, place, place + 1)  # 0: of a chain that was made up


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=_PLACES, other=_PLACES, how=st.sampled_from(["taken away", "moved", "put in", "swapped"]))
async def test_any_stored_row_that_is_away_moved_or_too_much_is_found(
    database: str, place: int, other: int, how: str
) -> None:
    """And its place is named."""
    rows, first = list(_ROWS), place
    if how == "taken away":
        del rows[place]
    elif how == "put in":
        rows.insert(place, replace_hash(dataclasses.replace(_ROWS[place], reason="x", entry_id="forged")))
    elif place == other:
        return
    else:
        first = min(place, other)
        rows[place] = dataclasses.replace(_ROWS[other], position=place)
        if how == "swapped":
            rows[other] = dataclasses.replace(_ROWS[place], position=other)
    (found,) = await _proven(database, rows)
    assert found.first_break is not None
    wanted = {place, place + 1} if how == "put in" else {place} if how == "moved" else {first}
    assert found.first_break.position in wanted


async def test_row_that_was_moved_is_said_to_be(database: str) -> None:
    """The row that it follows stands elsewhere."""
    rows = list(_ROWS)
    rows[2], rows[5] = dataclasses.replace(rows[5], position=2), dataclasses.replace(rows[2], position=5)
    (found,) = await _proven(database, rows)
    assert found.first_break is not None
    assert (found.first_break.position, found.first_break.fault) == (2, "reordered")
    assert "follows the row at position 4" in found.first_break.explanation


@pytest.fixture
def tocsin(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Tocsin:
    """Runs a command to its end, on the scene's bus and store."""
    monkeypatch.setenv("TOCSIN_KAFKA_URL", scene.broker.bootstrap)
    monkeypatch.setenv("TOCSIN_CLICKHOUSE_URL", scene.url)
    monkeypatch.setenv("TOCSIN_HOME", str(scene.folder))
    return lambda *arguments: CliRunner().invoke(app, arguments)


async def test_chain_is_anchored_proven_exported_and_tampering_is_found(scene: Scene, tocsin: Tocsin) -> None:
    """From entries to the exit status: by the command, with anchors of the bus and of a
    file, and by the script on an export; then a row is altered, and then all are written
    anew, which the audit role itself finds and anchors no more, and at last taken away.
    """
    port = free_port()
    analyzer = scene.another_recorder(
        TOCSIN_ANALYZER_ROLES="audit",
        TOCSIN_CONSUMER_SESSION_TIMEOUT_S="3",
        TOCSIN_AUDIT_ANCHOR_INTERVAL_S="0.5",
        TOCSIN_HEALTH_PORT=str(port),
    )
    analyzer.start()
    producer = CountingProducer(scene.broker.bootstrap, "console", timeout_s=60)
    await producer.start()
    try:
        await _publish(producer, range(20))
        await eventually(lambda: _anchored(scene, 19), within_s=90, what="the twentieth row is anchored")
        whole = await _run(tocsin, "audit", "verify", "--json")
        assert (whole.exit_code, json.loads(whole.stdout)["ok"]) == (0, True), whole.output
        (told,) = json.loads(whole.stdout)["chains"]
        assert (told["rows"], told["anchored"], told["compared"]) == (20, 20, 20)
        kept = scene.folder / "anchors.jsonl"
        kept.write_text((await _run(tocsin, "audit", "anchors", "--json")).stdout)
        export = scene.folder / "export.jsonl"
        done = await _run(tocsin, "audit", "export", "--out", str(export), "--json")
        # The export's own entry comes first, and may be chained by the time rows are read.
        assert (done.exit_code, json.loads(done.stdout)["rows"] in (20, 21)) == (0, True), done.output
        assert export.stat().st_mode & 0o777 == 0o600
        assert (await _run(tocsin, "audit", "export", "--out", str(export))).exit_code == 2
        await eventually(
            lambda: _anchored(scene, 20), within_s=60, what="the export is audited, and anchored"
        )
        listed = json.loads(
            (await _run(tocsin, "audit", "list", "--action", "audit.exported", "--json")).stdout
        )
        assert [(one["actor_kind"], one["outcome"]) for one in listed["data"]] == [("operator", "done")]
        assert "audit_anchored" in analyzer.output
        assert _script(export, kept) == 0
        (scene.folder / "log").write_text(_json_lines(analyzer.output))
        by_log = await _run(tocsin, "audit", "verify", "--offline", "--anchors", str(scene.folder / "log"))
        assert (by_log.exit_code, "whole, 21 rows" in by_log.stdout) == (0, True), by_log.output

        assert (await _doctor(scene)).ok

        rows = await _stored(scene)
        await _alter(scene, "reason = 'nothing' WHERE position = 7")
        broken = await _run(tocsin, "audit", "verify", "--anchors", str(kept))
        assert (broken.exit_code, "BROKEN at position 7 (altered)" in broken.stdout) == (1, True)
        export.unlink()
        await _run(tocsin, "audit", "export", "--out", str(export))
        assert _script(export, kept) == 1
        await eventually(lambda: _count(scene, 22), within_s=60, what="the second export is chained")

        forged = [*_forged(rows)]
        await scene.store.command("TRUNCATE TABLE audit_log")
        await scene.store.insert(AUDIT_ROWS.table, [AUDIT_ROWS.row(row) for row in forged], token="forged")
        await eventually(lambda: _refused(analyzer), within_s=60, what="the role anchors no more")
        told_by = await _doctor(scene)
        assert (told_by.ok, "was anchored as" in told_by.detail) == (False, True), told_by
        published = await read_anchors(scene.broker.bootstrap, "test")
        await _publish(producer, range(20, 25))
        await eventually(lambda: _count(scene, len(forged) + 5), within_s=60, what="entries are chained on")
        assert await read_anchors(scene.broker.bootstrap, "test") == published
        anew = await _run(tocsin, "audit", "verify", "--offline", "--anchors", str(kept))
        assert (anew.exit_code, "(not_anchored)" in anew.stdout) == (1, True), anew.output
        await scene.store.command("TRUNCATE TABLE audit_log")
        (bare,) = await examine(
            StoredAuditTable(scene.store), [], [AuditLog(scene.broker.bootstrap, "audit")]
        )
        assert bare.first_break is not None
        assert (bare.first_break.position, bare.first_break.fault) == (0, "missing")
        assert analyzer.terminate() == 0
    finally:
        analyzer.kill()
        await producer.close()


async def _run(tocsin: Tocsin, *arguments: str) -> Result:
    return await asyncio.to_thread(tocsin, *arguments)


async def _publish(producer: CountingProducer, numbers: Sequence[int]) -> None:
    sent = [
        await producer.send_soon(Outgoing(AUDIT.name, entry(number), subject="s", tenant="acme"))
        for number in numbers
    ]
    await asyncio.gather(*sent)


async def _anchored(scene: Scene, position: int) -> bool:
    found = await read_anchors(scene.broker.bootstrap, "test")
    return any(one.position >= position for one in found)


async def _doctor(scene: Scene) -> Finding:
    settings = CommonSettings(
        kafka_url=scene.broker.bootstrap, clickhouse_url=scene.url, partition_scale=0.25
    )
    return next(one for one in await examine_installation(settings, ()) if one.check == "audit")


async def _refused(analyzer: RecorderProcess) -> bool:
    return '"audit_not_anchored"' in analyzer.output


async def _count(scene: Scene, count: int) -> bool:
    return len(await _stored(scene)) >= count


async def _stored(scene: Scene) -> list[AuditRow]:
    table = StoredAuditTable(scene.store)
    return [row async for page in table.rows(f"{AUDIT.name}/0") for row in page]


async def _alter(scene: Scene, what: str) -> None:
    await scene.store.command(f"ALTER TABLE audit_log UPDATE {what} SETTINGS mutations_sync = 2")


def _forged(rows: Sequence[AuditRow]) -> Iterator[AuditRow]:
    """The chain written anew from the third row on, each hash right."""
    previous = rows[0].previous_hash
    for row in rows:
        action = "key.forged" if row.position == 2 else row.action
        made = replace_hash(dataclasses.replace(row, action=action, previous_hash=previous))
        previous = made.hash
        yield made


def _script(export: Path, kept: Path) -> int:
    arguments = [sys.executable, "-I", "-S", str(_SCRIPT), str(export), str(kept)]
    return subprocess.run(arguments, capture_output=True, check=False).returncode


def _json_lines(output: str) -> str:
    return "\n".join(line for line in output.splitlines() if line.startswith("{"))
