"""`tocsin status`: every process of an installation, the models' included."""

import http.client
import json
from collections.abc import Mapping
from typing import Any

from services.cli.figures.tables import table
from services.embedded.installation.home import Home

_TIMEOUT_S = 3.0


def status(*, as_json: bool, home: Home | None = None) -> int:
    """Prints it; 0 if everything is ready, 1 otherwise."""
    home = home or Home()
    report = describe(home)
    print(json.dumps(report, indent=1) if as_json else render(report))
    return 0 if report["state"] == "ready" else 1


def describe(home: Home) -> dict[str, Any]:
    """What runs in this home, as the supervisor wrote it and inference tells of its own
    processes.
    """
    state = home.read_state()
    report: dict[str, Any] = {
        "state": "stopped",
        "url": None,
        "pid": None,
        "home": str(home.root),
        "processes": [],
    }
    if not home.is_locked() or not state:
        return report
    processes = [_entry(one) for one in state.get("processes", [])]
    models = [
        _entry(one)
        for one in processes
        if one["role"] == "inference"
        for one in _model_processes(one["port"])
    ]
    return report | {
        "state": state.get("state"),
        "url": state.get("url"),
        "pid": state.get("pid"),
        "processes": processes + models,
    }


def render(report: Mapping[str, Any]) -> str:
    """The same as a table."""
    if report["state"] == "stopped":
        return f"Tocsin does not run in {report['home']}."
    columns = ("role", "name", "pid", "port", "state", "restarts")
    rows = [
        {name: "" if one[name] is None else str(one[name]) for name in columns} for one in report["processes"]
    ]
    return "\n".join(
        [
            (
                f"Tocsin is {report['state']}: {report['url'] or '(no address yet)'} (supervisor "
                f"{report['pid']}, data in {report['home']})"
            ),
            "",
            *table(rows),
        ]
    )


def _entry(one: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one.get(name) for name in ("role", "name", "pid", "port", "state", "restarts")}


def _model_processes(port: int) -> list[dict[str, Any]]:
    """The dispatchers and replicas, which Ray runs; none while inference does not
    answer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/processes")
        answer = connection.getresponse()
        return list(json.loads(answer.read())) if answer.status == http.client.OK else []
    except (OSError, http.client.HTTPException, ValueError):
        return []
    finally:
        connection.close()
