"""`python -m tests.support.clickhouse.engine_attempts HOME STATEMENTS`: statements given
to the engine itself, without the store's filter, in a process that is confined as the store's.

A process of its own: there is one engine a process, and confinement is for good. Prints
JSON: the confinement, and for each way in and each statement what came of it.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from services.embedded.clickhouse.engine.chdb_engine import Engine, EngineLimits, Handle, use_database
from services.embedded.clickhouse.engine.confinement import confine
from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.users import Role


def _outcome(run: Callable[[], bytes]) -> str:
    try:
        return run().decode("utf-8", "replace")
    except StoreError as error:
        return f"error {error.code}: {error.message}"


def _analyst(engine: Engine) -> Handle:
    handle = engine.handle(Role.ANALYST)
    use_database(handle, "tocsin")
    handle.seal(engine.defaults(Role.ANALYST))
    return handle


def main(home: Path, statements: list[str]) -> None:
    """Tries every statement in every way."""
    folder = home / "clickhouse"
    engine = Engine(folder, EngineLimits())
    engine.prepare()
    (folder / "audit" / "analyst.jsonl").write_text("what another analyst asked")
    state = confine(folder)
    engine.open()
    engine.handle(Role.ADMIN).command("CREATE TABLE tocsin.t ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a")
    admin = engine.handle(Role.ADMIN)
    admin.command("SET http_max_tries = 1")
    promoted = _analyst(engine)
    promoted.command("SET ROLE ALL")
    ways: dict[str, Callable[[str], bytes]] = {
        "sealed": lambda sql: b"".join(_analyst(engine).query(sql, "TSV")),
        "past the parser": lambda sql: _analyst(engine).command(sql),
        "with every role": promoted.command,
    }
    outcomes = {
        way: {sql: _outcome(lambda sql=sql, run=run: run(sql)) for sql in statements}  # type: ignore[misc]
        for way, run in ways.items()
    }
    outcomes["admin"] = {
        sql: _outcome(lambda sql=sql: admin.command(sql))  # type: ignore[misc]
        for sql in statements
        if sql.startswith("SELECT")
    }
    print(json.dumps({"confinement": state, "outcomes": outcomes}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
