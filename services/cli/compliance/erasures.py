"""The work of `tocsin privacy`."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr

from schemas.events.audit import SubjectErasure
from services.cli.compliance.exports import STORE_TIMEOUT_S, record_export
from services.cli.compliance.new_file import new_file
from services.cli.control.control import CONNECT_TIMEOUT_S, KeySettings, operator, show_json
from services.common.bus.producers.counting import CountingProducer
from services.common.clock import utc_now
from services.common.control.audit_entries import AuditWriter
from services.common.control.errors import InvalidChangeError, NoSuchEntryError
from services.common.control.reader import read_control_state
from services.common.control.state import ControlState
from services.common.errors import BusUnavailableError, ConfigError
from services.common.store import Store
from services.console.privacy import receipts
from services.console.privacy.log import ErasureLog
from services.console.privacy.service import MOST_USER_CHARS, ErasureService, iso, newest_first
from services.console.privacy.stored.export import SubjectExport
from services.console.privacy.subject import Identities, subject_of

_WAIT_S = 600.0


class PrivacySettings(KeySettings):
    """What erasing and exporting need beside the bus, the store and the pepper."""

    pseudonym_key: SecretStr = Field(
        min_length=16, description="Secret under which users are renamed, the gateways' own."
    )


def erase(user: str, *, tenant: str, confirm: str, wait: bool, as_json: bool) -> int:
    """Begins an erasure.

    Raises:
        InvalidChangeError: the name is none, or was not typed again as it is.
        BusUnavailableError: the bus does not take it, or did not say in ten minutes that
            it is done.
    """
    _require_name(user)
    if confirm != user:
        raise InvalidChangeError("confirm", f"type the user's name, {user!r}, again; nothing was begun")
    erasure, proof = asyncio.run(_erase(PrivacySettings.load(), user, tenant=tenant, wait=wait))
    if as_json:
        begun = {"id": erasure.erasure_id, "tenant": tenant, "state": erasure.state, "proof": proof}
        show_json(begun)
    else:
        print(
            f"{tenant}/{user}: receipt {erasure.erasure_id} ({erasure.state}); "
            f"`tocsin privacy receipt {erasure.erasure_id}`"
        )
        print(f"proof whom it is about, told only now: {proof}")
    return 0


def show_receipt(receipt_id: str, *, as_json: bool) -> int:
    """Prints a receipt.

    Raises:
        NoSuchEntryError: there is none.
    """
    settings = KeySettings.load()
    found = asyncio.run(_known(settings)).get(receipt_id)
    if found is None:
        raise NoSuchEntryError(f"there is no receipt {receipt_id!r}; `tocsin privacy list` shows all")
    signed = receipts.signed(found, settings.key_pepper.get_secret_value())
    if as_json:
        show_json(signed)
    else:
        print("\n".join(_lines(signed)))
    return 0


def list_receipts(tenant: str, *, as_json: bool) -> int:
    """Prints all erasures, or a tenant's."""
    found = newest_first(asyncio.run(_known(KeySettings.load())).values(), tenant or None)
    shown = [
        {
            "id": one.erasure_id,
            "tenant": one.tenant,
            "state": one.state,
            "requested_at": iso(one.requested_at),
            "requested_by": one.requested_by,
        }
        for one in found
    ]
    if as_json:
        show_json(shown)
    else:
        for line in shown:
            print("  ".join(str(value) for value in line.values()))
    return 0


def export(user: str, *, tenant: str, out: Path, as_json: bool) -> int:
    """Writes an export to a new file.

    Raises:
        ConfigError: the file is there already, or cannot be written.
        BusUnavailableError: the export could not be audited; nothing was written.
    """
    _require_name(user)
    size = asyncio.run(_export(PrivacySettings.load(), user, tenant=tenant, out=out))
    if as_json:
        show_json({"file": str(out), "bytes": size})
    else:
        print(f"{size} bytes in {out}")
    return 0


def show_key(*, as_json: bool) -> int:
    """Prints the public key of receipts."""
    public = receipts.public_key_of(KeySettings.load().key_pepper.get_secret_value())
    if as_json:
        show_json({"public_key": public})
    else:
        print(public)
    return 0


def verify(file: Path, public_key: str, *, user: str, proof: str, as_json: bool) -> int:
    """Says whether a receipt is good, and about whom; needs neither bus nor store.

    Raises:
        ConfigError: the file cannot be read, or is no JSON object.
    """
    try:
        receipt = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_each_name_once)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read as a receipt: {error}") from error
    if not isinstance(receipt, dict):
        raise ConfigError(f"{file} is no receipt: it must be a JSON object")
    wrong = receipts.verify(receipt, public_key)
    if not wrong and (user or proof) and not receipts.is_about(receipt, user, proof):
        wrong = "it is not about this user, by this proof"
    if as_json:
        show_json({"ok": not wrong, "wrong": wrong})
    else:
        print(f"NOT GOOD: {wrong}" if wrong else f"good: {receipt['state']}, tenant {receipt['tenant']}")
    return int(bool(wrong))


async def _erase(
    settings: PrivacySettings, user: str, *, tenant: str, wait: bool
) -> tuple[SubjectErasure, str]:
    state = await read_control_state(settings.kafka_url, connect_timeout_s=CONNECT_TIMEOUT_S)
    _note_unknown(state, tenant)
    async with _bus(settings) as (producer, log):
        service = ErasureService(log, _identities(settings), AuditWriter(producer.send).record, utc_now)
        erasure, proof = await service.request(state, tenant, user, operator())
        if wait:
            erasure = await _done(log, erasure.erasure_id)
        return erasure, proof


async def _done(log: ErasureLog, erasure_id: str) -> SubjectErasure:
    try:
        async with asyncio.timeout(_WAIT_S):
            while not log.known[erasure_id].rounds:
                await asyncio.sleep(0.3)
                await log.catch_up()
    except TimeoutError as error:
        raise BusUnavailableError(
            f"the erasure {erasure_id} is begun, and its first round not done after ten minutes; a console "
            f"goes on with it: `tocsin privacy receipt {erasure_id}`."
        ) from error
    return log.known[erasure_id]


async def _export(settings: PrivacySettings, user: str, *, tenant: str, out: Path) -> int:
    state = await read_control_state(settings.kafka_url, connect_timeout_s=CONNECT_TIMEOUT_S)
    _note_unknown(state, tenant)
    subject = subject_of(settings.pseudonym_key.get_secret_value(), state, tenant, user)
    with new_file(out) as file:
        await record_export(settings, "subject", object_id=subject.pseudonyms[0], tenant=tenant)
        async with Store(settings.clickhouse_url, name="tocsin-cli", timeout_s=STORE_TIMEOUT_S) as store:
            async for piece in SubjectExport(store).pieces(state, subject, str(iso(utc_now()))):
                file.write(piece)
        return file.tell()


async def _known(settings: KeySettings) -> dict[str, SubjectErasure]:
    async with _bus(settings) as (_, log):
        return dict(log.known)


@contextlib.asynccontextmanager
async def _bus(settings: KeySettings) -> AsyncIterator[tuple[CountingProducer, ErasureLog]]:
    producer = CountingProducer(settings.kafka_url, "cli-privacy")
    log = ErasureLog(settings.kafka_url, "cli-privacy", producer.send, connect_timeout_s=CONNECT_TIMEOUT_S)
    try:
        await producer.start(CONNECT_TIMEOUT_S)
        await log.start()
        yield producer, log
    finally:
        await log.close()
        await producer.close()


def _identities(settings: PrivacySettings) -> Identities:
    return Identities(settings.key_pepper.get_secret_value(), settings.pseudonym_key.get_secret_value())


def _note_unknown(state: ControlState, tenant: str) -> None:
    """Of a tenant that was purged there may be rows, so it is gone on: but who mistyped
    its name must not believe that this was about the person.
    """
    if tenant not in state.entries("tenant"):
        print(f"note: there is no tenant {tenant!r}; only what is left of one is looked at", file=sys.stderr)


def _require_name(user: str) -> None:
    if not 0 < len(user) <= MOST_USER_CHARS:
        raise InvalidChangeError("user", f"a user is called by 1 to {MOST_USER_CHARS} characters")


def _lines(receipt: dict[str, Any]) -> list[str]:
    head = (
        f"{receipt['id']}  tenant {receipt['tenant']}  {receipt['state']}  asked for at "
        f"{receipt['requested_at']} by {receipt['requested_by']}"
    )
    places = [
        f"  {one['place']}: found {one['found']}, erased {one['erased']}, left {one['left']}"
        + (f"; kept: {one['why']}" if one["why"] else "")
        + (f"; WAITS: {one['failed']}" if one["failed"] else "")
        for one in receipt["stores"]
    ]
    again = f"next round at {receipt['next_round_at']}" if receipt["next_round_at"] else "no round is left"
    return [head, *places, f"the bus's last copy is gone by {receipt['bus_gone_by']}; {again}"]


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a receipt. Of a name that comes twice the last value would be proven
    here, and a reader may show the first.

    Raises:
        ValueError: a name comes twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice in one object of it")
    return found
