"""`python -m tests.benchmarks.security.analyst_attacks --texts 20000`: hostile SQL against
a real store as its analyst, and whether anything got out.

Each text is made to read a file, take a role, lift a limit, see another's query, write a
file or change a table, behind whatever two lexers may read differently. An escape is told
by its effect, never by the answer's code. The exit status is 1 if there was one.
"""

import argparse
import random
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.support.clickhouse.hostile_sql import hostile_text
from tests.support.store import RunningStore, running_store

_CANARY = "CANARY8316f0"
_HIDDEN = f"{_CANARY}OTHERS"
_LIFTED = f"{_CANARY}LIFTED"
_THREADS = 6
_ROWS = 5


@dataclass
class Attack:
    """A store with things that must not be reached, and what was."""

    store: RunningStore
    secret: Path
    written: Path
    url: str
    fetched: list[str]
    escapes: list[tuple[str, str]] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)

    @property
    def payloads(self) -> list[str]:
        """What a text tries."""
        lifted = f"if(getSetting('max_memory_usage') = 0, '{_CANARY[:6]}' || '{_LIFTED[6:]}', 'x')"
        return [
            f"file('{self.secret}')",
            f"* APPLY(file) FROM (SELECT '{self.secret}')",
            f"(SELECT * FROM file('{self.secret}', LineAsString))",
            f"* FROM `{self.secret}`",
            f"FROM default.`{self.secret}`",
            f"* FROM url('{self.url}', LineAsString)",
            f"* FROM executable('cat {self.secret}', TSV, 'a String')",
            "query FROM system.processes",
            "(SELECT groupArray(query) FROM system.processes)",
            "FROM merge('system', '^processes$')",
            f"{lifted} SETTINGS max_memory_usage = 0",
            f"{lifted} SETTINGS join_use_nulls = 1, max_memory_usage = 0",
            f"FROM (SELECT {lifted} SETTINGS max_memory_usage = 0)",
            "; SET ROLE store_admin; SELECT query FROM system.processes",
            "; SET ROLE ALL; INSERT INTO tocsin.canary VALUES (1)",
            "; INSERT INTO tocsin.canary VALUES (1)",
            "; DROP TABLE tocsin.canary",
            "PARALLEL WITH TRUNCATE TABLE tocsin.canary",
            f"INTO OUTFILE '{self.written}'",
            f"INTO OUTFILE '{self.store.folder}/data/tmp/written'",
            f"FORMAT Template SETTINGS format_template_row = '{self.secret}'",
            "SETTINGS dialect = 'kusto'",
        ]

    def one(self, text: str) -> None:
        """Sends a text and looks at what came back."""
        answer = self.store.ask(text, user="analyst")
        self.codes[answer.code] += 1
        body = answer.body.decode("utf-8", "replace")
        if any(mark in body for mark in (f"{_CANARY}FILE", _HIDDEN, _LIFTED)):
            self.escapes.append((text, body[:200]))

    def look_around(self, text: str) -> None:
        """Whether something changed that no answer tells."""
        found = [
            str(path) for path in (self.written, self.store.folder / "data/tmp/written") if path.exists()
        ]
        rows = self.store.ask("SELECT count() FROM tocsin.canary").text
        if found or rows != str(_ROWS) or self.fetched:
            self.escapes.append((text, f"written: {found}, rows: {rows}, fetched: {self.fetched}"))


def _listen(fetched: list[str]) -> HTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{_CANARY}FILE\n".encode())

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _keep_asking(store: RunningStore, stop: threading.Event) -> None:
    """Another user's query that is always there."""
    while not stop.is_set():
        store.ask(f"SELECT sleepEachRow(0.5), '{_HIDDEN}' FROM numbers(4)", user="service", max_block_size=1)


def attack(folder: Path, texts: int, seed: int) -> Attack:
    """Runs the attack; its escapes and the codes that were answered."""
    home = folder / "home"
    home.mkdir(parents=True)
    secret = home / "secrets.json"
    secret.write_text(f"{_CANARY}FILE\n")
    fetched: list[str] = []
    server, stop = _listen(fetched), threading.Event()
    with running_store(home / "store") as store:
        store.ask("CREATE TABLE tocsin.canary (a Int8) ENGINE = MergeTree ORDER BY a")
        store.ask(f"INSERT INTO tocsin.canary SELECT number FROM numbers({_ROWS})")
        run = Attack(store, secret, home / "written.tsv", f"http://127.0.0.1:{server.server_port}/", fetched)
        other = threading.Thread(target=_keep_asking, args=(store, stop))
        other.start()
        draw = random.Random(seed)
        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                for _ in range(0, texts, 100):
                    batch = [hostile_text(draw, run.payloads) for _ in range(100)]
                    list(pool.map(run.one, batch))
                    run.look_around(batch[-1])
        finally:
            stop.set()
            other.join()
            server.shutdown()
    return run


def main() -> int:
    """Runs it and tells what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = attack(Path(folder), arguments.texts, arguments.seed)
    print(f"{arguments.texts} texts, answered by code (0 is success): {dict(run.codes.most_common(12))}")
    for text, what in run.escapes[:20]:
        print(f"ESCAPE {text!r}: {what}")
    print(f"{len(run.escapes)} escapes")
    return int(bool(run.escapes))


if __name__ == "__main__":
    sys.exit(main())
