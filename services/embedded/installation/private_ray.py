"""What keeps the Ray of this installation to itself: loopback, a token, a folder of its
own.
"""

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from services.common.errors import ConfigError
from services.embedded.installation.home import Home

_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
_LONGEST = 40  # bytes; services/inference/local_ray.py says why
# Ray gives up after seconds that a loaded machine needs; the supervisor sees
# whether it gets on, and so gives up later.
_PATIENCE = {
    "RAY_gcs_server_port_wait_time_s": "600",
    "RAY_raylet_start_wait_time_s": "600",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_py_gcs_connect_timeout_s": "600",
}


def ray_folder(home: Home) -> Path:
    """Where its sockets and logs go: in the home, or in /tmp where that path is too
    long for a socket, or has characters that Ray cannot have.
    """
    inside = home.root / "ray"
    if len(os.fsencode(inside)) <= _LONGEST and _PLAIN.fullmatch(str(inside)):
        return inside
    name = hashlib.sha256(os.fsencode(home.root)).hexdigest()[:10]
    return Path(f"/tmp/tocsin-{os.getuid()}-{name}/ray")  # noqa: S108 (checked by `clear_ray_folder`)


def clear_ray_folder(home: Home) -> None:
    """Makes the folder, for this user only, and removes what earlier runs left in it;
    call it while nothing of this home runs.

    Raises:
        ConfigError: the folder is somebody else's.
    """
    folder = ray_folder(home)
    guard = folder.parent  # Ray opens its own folder to everybody
    if guard != home.root:
        guard.mkdir(mode=0o700, exist_ok=True)
        found = guard.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigError(
                f"{guard} is somebody else's, and Ray's sockets were to go there: set TOCSIN_HOME to a "
                f"folder with a path of at most {_LONGEST - len('/ray')} bytes."
            )
        guard.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def ray_environment(home: Home, environ: Mapping[str, str]) -> dict[str, str]:
    """What the inference service is given for Ray; of the user's own `RAY_*` only where
    it joins a cluster of theirs.
    """
    if environ.get("TOCSIN_RAY_ADDRESS"):
        theirs = {
            name: value
            for name, value in environ.items()
            if name.startswith("RAY_") and name != "RAY_ADDRESS"
        }
        return {"RAY_USAGE_STATS_ENABLED": "0"} | theirs
    return _PATIENCE | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` it would build an environment for each worker
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's name for "listen on loopback"
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": home.secrets()["ray_token"],
        # Fixed ports otherwise, at which two installations would meet.
        "AUTOSCALER_METRIC_PORT": "0",
        "DASHBOARD_METRIC_PORT": "0",
        "TOCSIN_RAY_TEMP_DIR": str(ray_folder(home)),
        "RAY_TMPDIR": str(
            ray_folder(home).parent
        ),  # some of Ray's processes ask for this one, and then for TMPDIR
    }
