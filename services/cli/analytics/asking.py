"""Asks the store as the analyst, and prints what it says."""

import asyncio
import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from services.cli.figures.tables import table
from services.common.clock import utc_now
from services.common.errors import ConfigError
from services.common.store import Store
from services.common.store.dictionary import dictionary_page
from services.common.store.saved_queries import SavedQuery, saved_queries

_TIMEOUT_S = 40.0


def ask(name: str, given: Sequence[str], form: str, *, nothing: str = "none") -> int:
    """Prints the rows of a saved query, or, without a name, the list of them; `nothing`
    where there are no rows.

    Raises:
        ConfigError: there is no such query, or a parameter is wrong or missing.
        StoreUnavailableError: not now.
    """
    saved = saved_queries()
    if not name:
        print(*table([{"query": key, "what it tells": one.sentence} for key, one in saved.items()]), sep="\n")
        return 0
    if name not in saved:
        raise ConfigError(f"there is no saved query {name!r}; `tocsin query` lists them")
    values = saved[name].values(_pairs(given), utc_now())
    _print(asyncio.run(rows_of(saved[name], values)), form, nothing)
    return 0


def print_dictionary() -> int:
    """Prints the data dictionary of this store.

    Raises:
        StoreUnavailableError: not now.
    """

    async def page() -> str:
        store = Store(analyst_url(), name="tocsin-cli", timeout_s=_TIMEOUT_S)
        try:
            return await dictionary_page(store)
        finally:
            await store.close()

    print(asyncio.run(page()), end="")
    return 0


def analyst_url() -> str:
    """Where the store is, with the analyst's name and password.

    Raises:
        ConfigError: nobody said who the analyst is.
    """
    from services.embedded.installation.home import Home

    home = Home()
    known = home.read_connection() if home.connection_file.exists() else {}
    url, user, password = (
        os.environ.get(name) or known.get(name, "")
        for name in ("TOCSIN_CLICKHOUSE_URL", "TOCSIN_ANALYST_USER", "TOCSIN_ANALYST_PASSWORD")
    )
    if not (url and user and password):
        raise ConfigError(
            "set TOCSIN_CLICKHOUSE_URL, TOCSIN_ANALYST_USER and TOCSIN_ANALYST_PASSWORD, or start an "
            "installation in this folder with `tocsin up`"
        )
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"{parts.scheme}://{login}@{where}{parts.path}"


def _pairs(given: Sequence[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        raise ConfigError(f"--param {wrong[0]!r} is not NAME=VALUE")
    return {name: value for name, _, value in pairs}


async def rows_of(saved: SavedQuery, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the analyst is told.

    Raises:
        ConfigError: nobody says where the store is.
        StoreUnavailableError: not now.
    """
    store = Store(analyst_url(), name="tocsin-cli", timeout_s=_TIMEOUT_S)
    try:
        return await store.query(saved.limited, values)
    finally:
        await store.close()


def _print(rows: list[dict[str, Any]], form: str, nothing: str) -> None:
    if form == "json":
        print(json.dumps([{name: plain_of(one) for name, one in row.items()} for row in rows]))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([list(rows[0])] if rows else [])
        writer.writerows([text_of(one) for one in row.values()] for row in rows)
    else:
        print(
            *(table([{name: text_of(one) for name, one in row.items()} for row in rows]) or [nothing]),
            sep="\n",
        )


def plain_of(value: Any) -> Any:
    """The same for JSON."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return [plain_of(one) for one in value] if isinstance(value, list | tuple) else _shown(value)


def _shown(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def text_of(value: Any) -> str:
    """For a terminal or a sheet: no control characters, and no text that a sheet would
    take for a formula.
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "".join(one if one.isprintable() else "�" for one in _shown(value))
    return f"'{text}" if isinstance(value, str) and text[:1] in ("=", "+", "-", "@") else text
