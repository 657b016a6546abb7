"""A Ray of this machine's own, which nobody else can reach or take for theirs.

What Ray reads before it is imported (`RAY_*`: loopback only, its token) is set by
whoever starts this process, `services/embedded/installation/process_table.py`.
"""

import os
import sys
from pathlib import Path
from typing import Any

import ray
import structlog
from ray import serve
from ray.serve._private import replica as serve_replica

from services.common.errors import ConfigError
from services.inference.child_watch import ended_with

log = structlog.get_logger(__name__)

_LONGEST_TEMP_DIR = 40
"""Bytes that Ray's folder may have: a Unix socket's whole path has 107 at most, and
below it comes /session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.
"""
_OBJECT_STORE_BYTES = 100 * 1024 * 1024


def start(*, num_cpus: int, gpus: bool, temp_dir: str) -> None:
    """Starts Ray, whatever `RAY_ADDRESS` says and whatever `ray start` has running.

    Raises:
        ConfigError: `temp_dir` cannot hold Ray's sockets.
    """
    if len(os.fsencode(temp_dir)) > _LONGEST_TEMP_DIR:
        raise ConfigError(
            f"TOCSIN_RAY_TEMP_DIR={temp_dir!r} is too long for Ray's sockets: name a folder of at most "
            f"{_LONGEST_TEMP_DIR} bytes, say /tmp/tocsin-ray."
        )
    if temp_dir:
        Path(temp_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    options: dict[str, Any] = {"_temp_dir": temp_dir} if temp_dir else {}
    with ended_with("raylet", _give_up):
        ray.init(
            address="local",
            num_cpus=num_cpus,
            num_gpus=None if gpus else 0,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            log_to_driver=True,
            configure_logging=False,
            **options,
        )


def _give_up() -> None:
    """Ends this process, which cannot be told otherwise: `ray.init` does not return. The
    supervisor takes away what is left of Ray, and starts it again.
    """
    log.error(
        "raylet_ended",
        detail="Ray's raylet ended while it started, as on a loaded machine where its "
        "agent takes more than 15 s: its log is "
        "session_latest/logs/raylet.out in Ray's folder. Starting again.",
    )
    sys.stdout.flush()
    os._exit(1)


def stop() -> None:
    """Stops Serve and Ray, with everything that they run."""
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


def keep_replica_on_loopback() -> None:
    """Has the server that Serve opens in each replica, for calls between deployments
    (of which we make none), listen on loopback.

    Serve 2.60 has `[::]` written into its code and no setting for it. Called in the
    replica before its constructor returns, since it listens right after.
    """
    module: Any = serve_replica
    add_port = module.add_port_to_grpc_server

    def on_loopback(server: Any, address: str) -> int:
        return int(add_port(server, address.replace("[::]", "127.0.0.1")))

    module.add_port_to_grpc_server = on_loopback
