"""Pages of a list. Pure.

Entries come in the order of their ids, which never change: however many are made and
removed meanwhile, a walk shows each that stays exactly once. A cursor is the last id
that was shown; one that somebody made up shows nothing that its maker may not see.
"""

import base64
import binascii
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.control import AnyEntry
from services.common.http.problems import malformed


class Filters(BaseModel):
    """What narrows a list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500, description="At most so many.")] = 50
    cursor: Annotated[str, Field(max_length=1024, description="`next_cursor` of the page before.")] = ""
    deleted: Annotated[
        Literal["no", "yes", "any"], Field(description="Deleted ones: none of them, only them, or all.")
    ] = "no"
    name: Annotated[
        str, Field(max_length=200, description="Part of the id or the name, in any case of letters.")
    ] = ""
    tenant: Annotated[str, Field(max_length=64, description="Only this tenant's.")] = ""
    user: Annotated[str, Field(max_length=128, description="Only this user's.")] = ""


COMMON_FILTERS = ("limit", "cursor", "deleted", "name")


def page(entries: Iterable[AnyEntry], filters: Filters) -> tuple[list[AnyEntry], str | None]:
    """The entries of a page, and the cursor of the next; None after the last.

    Raises:
        ProblemError: 400, the cursor is none.
    """
    after = _read_cursor(filters.cursor)
    found = sorted(
        (one for one in entries if one.entry_id > after and _matches(one, filters)),
        key=lambda one: one.entry_id,
    )
    shown = found[: filters.limit]
    return shown, _cursor(shown[-1].entry_id) if len(found) > len(shown) else None


def _matches(entry: AnyEntry, filters: Filters) -> bool:
    if filters.deleted != "any" and (entry.deleted_at is not None) != (filters.deleted == "yes"):
        return False
    for field in ("tenant", "user"):
        wanted = getattr(filters, field)
        if wanted and getattr(entry, field, "") != wanted:
            return False
    texts = (entry.entry_id, getattr(entry, "name", ""))
    return not filters.name or any(filters.name.casefold() in text.casefold() for text in texts)


def _cursor(entry_id: str) -> str:
    return base64.urlsafe_b64encode(entry_id.encode()).rstrip(b"=").decode()


def _read_cursor(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise malformed("cursor: send a page's next_cursor as it came, or leave it out.", "cursor") from error
