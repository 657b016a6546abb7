"""`tocsin kpi`: the present window, what is in breach, and models' scores."""

from typing import Annotated, Any

import typer

from services.cli.beside import run_beside_installation

_BY = ("model", "tenant", "user", "all")
_FIGURES = (
    *("requests", "error_rate", "latency_p50_ms", "latency_p95_ms", "ttft_p95_ms", "queue_p95_ms"),
    *("tokens_per_s", "usd_per_hour", "risky_share", "satisfaction"),
)
_BREACH = ("began_at", "metric", "value", "threshold", "model", "tenant")
_SCORE = ("model", "score", "latency_part", "errors_part", "satisfaction_part", "security_part", "cost_part")


def add_to(app: typer.Typer) -> None:
    """Adds the command to `tocsin`."""
    app.command()(kpi)


def kpi(
    *,
    by: Annotated[str, typer.Option(help="Whose figures: model, tenant, user or all.")] = "model",
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="So many up to now.")] = 5,
    tenant: Annotated[str, typer.Option(help="Of this tenant only.")] = "",
    count: Annotated[int, typer.Option(min=1, max=1000, help="So many by name, the others together.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, errors too.")] = False,
) -> None:
    """Show the figures of the last minutes, breaches that have not ended, and how well
    each model did in the last hour (0 to 100).
    """
    if by not in _BY:
        raise typer.BadParameter(f"{by!r} must be one of {', '.join(_BY)}", param_hint="--by")
    run_beside_installation(lambda: _show(by, minutes, tenant, count, as_json=as_json), as_json=as_json)


def _show(by: str, minutes: int, tenant: str, count: int, *, as_json: bool) -> int:
    import asyncio
    import json

    from services.cli.analytics.asking import plain_of

    found = asyncio.run(_read(by, minutes, tenant, count))
    if as_json:
        print(json.dumps({name: [_each(row, plain_of) for row in rows] for name, rows in found.items()}))
        return 0
    columns = {"window": ("name", *_FIGURES), "open_breaches": _BREACH, "scores": _SCORE}
    heads = {"window": f"The last {minutes} minutes, by {by}", "open_breaches": "In breach"}
    for name, rows in found.items():
        print(heads.get(name, "Scores of models, of the last hour (all tenants)"))
        print(*(_lines(rows, columns[name]) or ["none"]), "", sep="\n")
    return 0


def _each(row: dict[str, Any], act: Any) -> dict[str, Any]:
    return {
        name: {str(key): one for key, one in value.items()} if isinstance(value, dict) else act(value)
        for name, value in row.items()
    }


def _lines(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> list[str]:
    from services.cli.analytics.asking import text_of
    from services.cli.figures.tables import table

    return table([{name.replace("_", " "): text_of(row[name]) for name in columns} for row in rows])


async def _read(by: str, minutes: int, tenant: str, count: int) -> dict[str, list[dict[str, Any]]]:
    from datetime import timedelta

    from services.cli.analytics.asking import rows_of
    from services.common.clock import utc_now
    from services.common.store.saved_queries import saved_queries

    saved, now = saved_queries(), utc_now()

    async def ask(name: str, **given: Any) -> list[dict[str, Any]]:
        asked = {key: str(value) for key, value in given.items()}
        return await rows_of(saved[name], saved[name].values(asked, now))

    begin = (now - timedelta(minutes=minutes)).isoformat()
    return {
        "window": await ask("operations/window", by=by, tenant=tenant, limit=count, **{"from": begin}),
        "open_breaches": await ask("operations/open_breaches", tenant=tenant, limit=500),
        "scores": await ask("quality/model_scores", limit=count),
    }
