"""`python -m services.embedded.clickhouse --path DIR --port N --users FILE`: the store
as a process.

It listens on loopback only, prints one line when it is ready and logs no statements.
SIGTERM ends it with status 0 after running queries had their grace.
"""

import argparse
import logging
import signal
import socket
import sys
from pathlib import Path

import structlog

from services.common.errors import ConfigError
from services.common.http.protocol import HttpConfig, HttpLimits
from services.common.http.server import HttpServer
from services.embedded.clickhouse.app import EmbeddedStore, StoreLimits
from services.embedded.clickhouse.engine.admission import AdmissionLimits
from services.embedded.clickhouse.engine.chdb_engine import EngineLimits
from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.users import ANALYSTS, Users

_GRACE_S = 3
_BACKLOG = 256
_WRITE_TIMEOUT_S = 60.0


def _arguments(values: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m services.embedded.clickhouse", description=__doc__)
    parser.add_argument(
        "--path", type=Path, required=True, help="data directory, made if missing; one process at a time"
    )
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--users", type=Path, required=True, help="users file (see users.py), mode 600")
    parser.add_argument(
        "--memory-mb", type=int, default=2048, help="memory that the engine may take in all (default 2048)"
    )
    parser.add_argument("--max-queries", type=int, default=16, help="queries at once (default 16)")
    parser.add_argument(
        "--max-wait-s",
        type=float,
        default=10.0,
        help="seconds that a query waits for its turn before it is refused (default 10)",
    )
    return parser.parse_args(values)


def _limits(arguments: argparse.Namespace) -> StoreLimits:
    memory = arguments.memory_mb << 20
    return StoreLimits(
        engine=EngineLimits(
            memory_bytes=memory,
            query_memory_bytes=memory // 2,
            analyst_memory_bytes=memory // 4,
            result_bytes=memory // 8,
        ),
        admission=AdmissionLimits(
            running=arguments.max_queries,
            analysts_running=max(1, arguments.max_queries // 3),
            gateways_running=max(1, arguments.max_queries // 5),
            wait_s=arguments.max_wait_s,
        ),
    )


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise ConfigError(
            f"port {port} of 127.0.0.1 cannot be used ({error.strerror}); choose another with --port"
        ) from error
    return listener


def _serve(store: EmbeddedStore, listener: socket.socket) -> None:
    config = HttpConfig(
        store,
        limits=HttpLimits(write_timeout_s=_WRITE_TIMEOUT_S),
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=30,
        backlog=_BACKLOG,
    )
    # uvicorn raises the signals that ended it once more when it is done; by then they
    # have done their work.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    listener.listen(_BACKLOG)
    print(f"store ready on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - who started the process waits for it
    HttpServer(config).run(sockets=[listener])


def _configure_logging() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main(values: list[str] | None = None) -> int:
    """Runs the store until a signal ends it; the exit status."""
    arguments = _arguments(sys.argv[1:] if values is None else values)
    _configure_logging()
    # An answer that failed half-way is left without its end on purpose; uvicorn would
    # call that an error of ours.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    try:
        users = Users.load(arguments.users, arguments.path.resolve() / ANALYSTS)
        listener = _listen(arguments.port)
        store = EmbeddedStore(arguments.path.resolve(), users, _limits(arguments))
        store.prepare()
        store.confine()
        store.open()
    except (ConfigError, StoreError, OSError) as error:
        print(f"store cannot start: {error}", file=sys.stderr, flush=True)  # noqa: T201 - for the person who started it
        return 1
    try:
        _serve(store, listener)
    finally:
        store.close()
        listener.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
