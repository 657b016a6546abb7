"""Fetches an export page by page, each into a file of its own, which are put together at
the end. What was fetched stays: whatever is killed, the next run goes on behind it.
"""

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from services.common.errors import ConfigError, TocsinError

_READ_TIMEOUT_S = 120.0
_AGAIN = frozenset({429, 502, 503, 504})
_LONGEST_PAUSE_S = 5.0
_PIECE = 1 << 20
_WIDTH = 30


class ExportBrokenOffError(TocsinError):
    """The platform did not answer for too long; the same command goes on later."""


class _NotNowError(Exception):
    """An answer that may be another one soon."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key is shown to nobody else."""

    def redirect_request(self, *_: Any) -> None:
        """None: what redirects is an error."""


_OPENER = urllib.request.build_opener(_NoRedirect)


def place(url: str) -> tuple[str, str]:
    """Where the platform is, and the key to show.

    Raises:
        ConfigError: nobody said so.
    """
    from services.embedded.installation.home import Home

    home = Home()
    known = home.read_connection() if home.connection_file.exists() else {}
    address = url or os.environ.get("TOCSIN_URL") or known.get("OPENAI_BASE_URL", "")
    key = os.environ.get("TOCSIN_API_KEY") or ("" if url else known.get("OPENAI_API_KEY", ""))
    if not address or not key:
        raise ConfigError(
            "give --url (or TOCSIN_URL) and TOCSIN_API_KEY, a key with the scope read, or start an "
            "installation in this folder with `tocsin up`"
        )
    return address.rstrip("/").removesuffix("/v1"), key


def list_views(address: str, key: str) -> int:
    """Prints what may be exported.

    Raises:
        ConfigError: the key may not.
        ExportBrokenOffError: the platform does not answer.
    """
    from services.cli.figures.tables import table

    try:
        with _answer(f"{address}/api/export", key) as answer:
            views = json.loads(answer.read())["views"]
    except _NotNowError as error:
        raise ExportBrokenOffError(str(error)) from error
    rows = [
        {"view": one["view"], "ordered by": one["time"], "columns": str(len(one["columns"]))} for one in views
    ]
    print(*table(rows), sep="\n")
    return 0


@dataclass
class Export:
    """One export to one file; its pages lie in `<file>.parts` until it is whole."""

    address: str
    key: str = field(repr=False)
    view: str
    query: list[tuple[str, str]]
    form: str
    file: Path
    patience_s: float
    _parts: Path = field(init=False)

    def __post_init__(self) -> None:
        self._parts = self.file.with_name(f"{self.file.name}.parts")

    def run(self, *, restart: bool) -> int:
        """Fetches what is left, and puts the file together.

        Raises:
            ConfigError: the file is there already, something else was begun under its
                name, the platform refuses what is asked, or the disk does not take it.
            ExportBrokenOffError: it did not answer for longer than the patience.
        """
        if self.file.exists():
            raise ConfigError(f"--output {self.file} is there already; name a file that is not")
        with self._locked():
            state = self._begun(restart=restart)
            while not state["done"]:
                state = self._fetched(state)
                self._save(state)
                _show(state)
            self._joined(state["pages"])
        print(f"{state['rows']} rows in {self.file}", file=sys.stderr)
        return 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone: two at once would write each other's pages."""
        try:
            self._parts.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self._parts / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"--output {self.file} cannot be written: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise ConfigError(f"another export to {self.file} is running") from error
        finally:
            os.close(lock)

    def _begun(self, *, restart: bool) -> dict[str, Any]:
        """How far it is. Who begins anew forgets what was there, so that the next run
        cannot go on with pages of both.
        """
        asked = [self.address, self.view, *map(list, self.query)]
        path = self._parts / "state.json"
        if restart:
            with _writing(path):
                path.unlink(missing_ok=True)
        if path.exists():
            state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if state["asked"] != asked:
                raise ConfigError(
                    f"an export of something else, or from elsewhere, to {self.file} was interrupted: finish "
                    "it with its own options and --url, or say --restart"
                )
            return state
        return {
            "asked": asked,
            "cursor": "",
            "pages": 0,
            "rows": 0,
            "done": False,
            "since": "",
            "at": "",
            "until": "",
        }

    def _fetched(self, state: dict[str, Any]) -> dict[str, Any]:
        """The next page, waited for as long as there is patience."""
        began, pause_s = time.monotonic(), 0.25
        while True:
            try:
                return self._page(state)
            except _NotNowError as error:
                if time.monotonic() - began > self.patience_s:
                    raise ExportBrokenOffError(
                        f"{error}. What was fetched is kept; the same command goes on from there"
                    ) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _page(self, state: dict[str, Any]) -> dict[str, Any]:
        query = [*self.query, *([("cursor", state["cursor"])] if state["cursor"] else [])]
        page = self._parts / f"{state['pages'] + 1:06d}"
        with _answer(f"{self.address}/api/export/{self.view}?{urlencode(query)}", self.key) as answer:
            told = answer.headers
            with _writing(page), page.open("wb") as file:
                for piece in _pieces(answer):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        cursor = told.get("x-next-cursor", "")
        return state | {
            "cursor": cursor,
            "pages": state["pages"] + 1,
            "rows": state["rows"] + int(told.get("x-rows", 0)),
            "done": not cursor,
            "since": state["since"] or told.get("x-since", ""),
            "at": told.get("x-next-from", ""),
            "until": told.get("x-until", ""),
        }

    def _save(self, state: dict[str, Any]) -> None:
        """Whole or not at all: a page counts once it is in the state."""
        new = self._parts / "state.new"
        with _writing(new):
            with new.open("w", encoding="utf-8") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._parts / "state.json")

    def _joined(self, pages: int) -> None:
        """The file, of all pages."""
        files = [self._parts / f"{number:06d}" for number in range(1, pages + 1)]
        whole = self._parts / "whole"
        with _writing(self.file):
            (_join_parquet if self.form == "parquet" else _join)(files, whole)
            whole.chmod(0o600)
            whole.replace(self.file)
        shutil.rmtree(self._parts)


@contextlib.contextmanager
def _writing(file: Path) -> Iterator[None]:
    """While it is written, what the disk says is told of the file.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be written: {error}. What was fetched is kept; the same command goes on from "
            "there"
        ) from error


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """What comes, apart from what becomes of it.

    Raises:
        _NotNowError: it breaks off.
    """
    try:
        while piece := answer.read(_PIECE):
            yield piece
    except (OSError, http.client.HTTPException) as error:
        raise _NotNowError(f"the platform's answer broke off: {error!r}") from error


def _join(files: list[Path], whole: Path) -> None:
    with whole.open("wb") as out:
        for one in files:
            with one.open("rb") as page:
                shutil.copyfileobj(page, out, _PIECE)
        out.flush()
        os.fsync(out.fileno())


def _join_parquet(files: list[Path], whole: Path) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(whole, pq.read_schema(files[0]), compression="zstd") as out:
        for one in files:
            page = pq.ParquetFile(one)
            for group in range(page.num_row_groups):
                out.write_table(page.read_row_group(group))


@contextlib.contextmanager
def _answer(url: str, key: str) -> Iterator[http.client.HTTPResponse]:
    """An answer that is to be read; what breaks off meanwhile is not now.

    Raises:
        ConfigError: the platform refuses.
        _NotNowError: it does not answer, or breaks off.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url.partition('/api')[0]!r} is no address: it begins with http:// or https://")
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"})  # noqa: S310  checked
    try:
        with _OPENER.open(request, timeout=_READ_TIMEOUT_S) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        said = _said(error)
        if error.code in _AGAIN:
            raise _NotNowError(said) from error
        raise ConfigError(said) from error
    except (OSError, http.client.HTTPException) as error:
        raise _NotNowError(f"{url.partition('/api')[0]} does not answer: {error!r}") from error


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(_PIECE))["detail"])
    except (ValueError, KeyError, OSError, http.client.HTTPException):
        return f"the platform answers {error.code}"


def _show(state: dict[str, Any]) -> None:
    """How far it is in time, where somebody looks."""
    if not sys.stderr.isatty():
        return
    share = 1.0
    if not state["done"]:
        since, at, until = (
            datetime.fromisoformat(state[name]).timestamp() for name in ("since", "at", "until")
        )
        share = min(1.0, (at - since) / max(until - since, 1e-9))
    bar = "#" * round(share * _WIDTH)
    end = "\n" if state["done"] else ""
    print(f"\r[{bar:<{_WIDTH}}] {share:4.0%}  {state['rows']:,} rows", end=end, file=sys.stderr, flush=True)
