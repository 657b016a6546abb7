"""`tocsin audit list`: as GET /api/admin/audit, of all tenants."""

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from services.cli.control.control import show_json
from services.common.control.errors import InvalidChangeError
from services.common.process.settings import CommonSettings
from services.common.store import Store
from services.console.read_models.rows.audit_trail import AuditQuery, AuditTrail
from services.console.routes.audit import AuditParameters


def show(given: Mapping[str, Any], *, as_json: bool) -> int:
    """Prints a page.

    Raises:
        InvalidChangeError: an option's value is wrong.
        InvalidCursorError: the cursor is none.
    """
    page = asyncio.run(_read(_query(given)))
    if as_json:
        show_json(page)
        return 0
    for one in page["data"]:
        print(_line(one))
    if not page["data"]:
        print("there is no such entry")
    if page["next_cursor"]:
        print(f"more: --cursor {page['next_cursor']}")
    return 0


def _query(given: Mapping[str, Any]) -> AuditQuery:
    try:
        return AuditParameters.model_validate(given).query
    except ValidationError as error:
        raise InvalidChangeError.of(error, AuditParameters) from error


async def _read(query: AuditQuery) -> dict[str, Any]:
    async with Store(CommonSettings.load().clickhouse_url, name="tocsin-cli", timeout_s=60.0) as store:
        return await AuditTrail(store).read(query)


def _line(entry: Mapping[str, Any]) -> str:
    at = entry["occurred_at"][:19].replace("T", " ")
    who = f"{entry['actor_kind']}:{entry['actor_id']}"
    what = f"{entry['action']} {entry['object_id']}".strip()
    outcome = "" if entry["outcome"] == "done" else f" ({entry['outcome']})"
    return f"{at}  {entry['tenant'] or '-'}  {who}  {what}{outcome}"
