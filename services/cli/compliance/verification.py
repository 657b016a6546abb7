"""`tocsin audit verify` and `anchors`."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from schemas.events.audit import ChainAnchored
from schemas.topics import AUDIT
from services.analyzer.audit.anchors import read_anchors
from services.analyzer.audit.examination import Examined, examine
from services.analyzer.audit.log_comparison import AuditLog
from services.analyzer.audit.table import StoredAuditTable
from services.analyzer.settings import Settings
from services.cli.compliance.exports import STORE_TIMEOUT_S
from services.cli.control.control import CONNECT_TIMEOUT_S, show_json
from services.common.errors import ConfigError
from services.common.process.settings import CommonSettings
from services.common.store import Store


def verify(kept: Path | None, *, offline: bool, as_json: bool) -> int:
    """Examines the chains and says what was found; 1 where one is broken.

    Raises:
        ConfigError: the file of anchors cannot be read, or holds none.
    """
    from_file = [] if kept is None else anchors_in(kept)
    found = asyncio.run(_examine(from_file, offline=offline))
    if as_json:
        show_json({"ok": _is_whole(found), "chains": [one.as_json() for one in found]})
    else:
        print("\n".join(_line(one) for one in found) or "there are no rows")
    return int(not _is_whole(found))


def show_anchors(*, as_json: bool) -> int:
    """Prints the anchors of the bus."""
    found = asyncio.run(_from_bus(CommonSettings.load()))
    if not found:
        print("there is no anchor yet; each full hour has one, if there were entries", file=sys.stderr)
    for one in sorted(found, key=lambda anchor: (anchor.chain, anchor.position)):
        if as_json:
            print(one.model_dump_json())
        else:
            print(
                f"{one.anchored_at:%Y-%m-%d %H:%M}  {one.chain}@{one.position}  {one.hash}  {one.rows} rows"
            )
    return 0


def anchors_in(path: Path) -> list[ChainAnchored]:
    """The anchors of a file of JSON lines. Other lines of a log are passed over.

    Raises:
        ConfigError: it cannot be read, a line is no anchor, or there is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--anchors {path} cannot be read: {error}") from error
    found = [one for number, line in enumerate(lines, 1) if (one := _anchor(path, number, line)) is not None]
    if not found:
        raise ConfigError(
            f"--anchors {path} has no anchor; `tocsin audit anchors --json` prints what it wants, once there "
            "are any"
        )
    return found


def _anchor(path: Path, number: int, line: str) -> ChainAnchored | None:
    if not line.strip():
        return None
    try:
        given = json.loads(line)
        if isinstance(given, dict) and given.get("event", "audit_anchored") != "audit_anchored":
            return None
        return ChainAnchored.model_validate(given)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"--anchors {path}: line {number} is no anchor; it must be a JSON object with chain, position, "
            "hash, rows and anchored_at, as `tocsin audit anchors --json` prints it"
        ) from error


async def _examine(kept: Sequence[ChainAnchored], *, offline: bool) -> list[Examined]:
    settings = Settings.load()
    anchors = [*kept] if offline else [*kept, *await _from_bus(settings)]
    logs = (
        []
        if offline
        else [
            AuditLog(settings.kafka_url, settings.audit_group, number, CONNECT_TIMEOUT_S)
            for number in range(AUDIT.partitions)
        ]
    )
    async with Store(settings.clickhouse_url, name="tocsin-cli", timeout_s=STORE_TIMEOUT_S) as store:
        return await examine(StoredAuditTable(store), anchors, logs)


async def _from_bus(settings: CommonSettings) -> list[ChainAnchored]:
    return await read_anchors(settings.kafka_url, "cli-anchors", connect_timeout_s=CONNECT_TIMEOUT_S)


def _is_whole(found: Sequence[Examined]) -> bool:
    return all(one.first_break is None for one in found)


def _line(found: Examined) -> str:
    if found.first_break is not None:
        broken = found.first_break
        return (
            f"{found.chain}: BROKEN at position {broken.position} ({broken.fault}): {broken.explanation}. "
            f"The {found.rows} rows before it are whole."
        )
    said = [f"{found.chain}: whole, {found.rows} rows up to {found.head}"]
    said.append(f"anchored: {found.anchored}" if found.anchored else "none is anchored")
    if found.compared is not None:
        said.append(f"compared with the bus: {found.compared}")
    if found.unchained:
        said.append(f"still to be chained: {found.unchained}")
    if found.erased:
        said.append(f"erased: {found.erased}")
    return "; ".join(said)
