"""`tocsin forecast`, `tocsin anomalies` and `tocsin capacity`."""

from typing import Annotated, Any

import typer

from services.cli.beside import run_beside_installation

_Tenant = Annotated[str, typer.Option(help="Of this tenant.")]
_Model = Annotated[str, typer.Option(help="Of this model, over all tenants.")]
_Hours = Annotated[int, typer.Option(help="How far ahead: 24, or 168 (a week).")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON, errors too.")]
_BOUNDS = ("median", "high80", "high95")


def add_to(app: typer.Typer) -> None:
    """Adds the commands to `tocsin`."""
    app.command()(forecast)
    app.command()(anomalies)
    app.command()(capacity)


def forecast(*, tenant: _Tenant = "", model: _Model = "", hours: _Hours = 24, as_json: _Json = False) -> None:
    """Show what is expected of each of the next hours: requests, tokens, cost, threats, each
    with intervals, and how well such forecasts did.
    """
    show_forecast((), tenant, model, hours, as_json=as_json)


def anomalies(
    *,
    tenant: _Tenant = "",
    model: _Model = "",
    figure: Annotated[str, typer.Option(help="Of this figure only, such as requests or errors.")] = "",
    days: Annotated[int, typer.Option(min=1, max=400, help="Of so many days up to now.")] = 7,
    lasting: Annotated[bool, typer.Option("--lasting", help="Those alone that are not over.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many, the newest first.")] = 50,
    as_json: _Json = False,
) -> None:
    """Show which hours were not as expected, and what made them so."""
    only = {
        name: value for name, value in (("tenant", tenant), ("model", model), ("figure", figure)) if value
    }

    async def ask(store: Any) -> Any:
        from datetime import timedelta
        from zoneinfo import ZoneInfo

        from services.common.clock import utc_now
        from services.console.read_models.usage.anomalies import Anomalies, AnomalyQuery

        now = utc_now()
        query = AnomalyQuery(
            now - timedelta(days=days), now, ZoneInfo("UTC"), only, lasting=lasting, limit=limit
        )
        return await Anomalies(store).read(query)

    run_beside_installation(lambda: _show(ask, print_anomalies, as_json=as_json), as_json=as_json)


def capacity(
    model: Annotated[str, typer.Argument(help="Which model.")],
    *,
    slots: Annotated[int, typer.Option(min=1, max=10_000, help="Slots of a replica.")],
    replicas: Annotated[int, typer.Option(min=0, max=10_000, help="How many there are.")],
    hours: _Hours = 24,
    wait_s: Annotated[
        float, typer.Option(min=0, max=3600, help="95 % of requests shall wait at most so long.")
    ] = 1.0,
    bound: Annotated[str, typer.Option(help="Of the forecast: median, high80 or high95.")] = "high80",
    accelerators: Annotated[int, typer.Option(min=0, max=1000, help="GPUs of a replica.")] = 0,
    replica_cost_usd: Annotated[str, typer.Option(help="What a replica costs an hour.")] = "0",
    as_json: _Json = False,
) -> None:
    """Show how many replicas a model needs for its forecast, and what each option costs."""
    if bound not in _BOUNDS:
        raise typer.BadParameter(f"{bound!r} must be one of {', '.join(_BOUNDS)}", param_hint="--bound")
    _require_horizon(hours)

    async def ask(store: Any) -> Any:
        from services.common.clock import utc_now
        from services.console.domain.capacity.advice import Goal, Replica
        from services.console.read_models.usage.capacity import Capacity
        from services.console.read_models.usage.forecasts import Forecasts

        replica = Replica(slots, accelerators, _dollars(replica_cost_usd))
        found = Capacity(store, Forecasts(store, utc_now), utc_now)
        which: Any = bound  # one of _BOUNDS
        goal = Goal(wait_s, which)
        return await found.advice(model, hours, replica=replica, present=replicas, goal=goal)

    run_beside_installation(lambda: _show(ask, print_capacity, as_json=as_json), as_json=as_json)


def show_forecast(figures: tuple[str, ...], tenant: str, model: str, hours: int, *, as_json: bool) -> None:
    """Shows the newest forecasts, of some figures or of all."""
    _require_horizon(hours)

    async def ask(store: Any) -> Any:
        from zoneinfo import ZoneInfo

        from services.common.clock import utc_now
        from services.console.read_models.usage.forecasts import Forecasts

        found = await Forecasts(store, utc_now).read(tenant, model, hours, ZoneInfo("UTC"))
        kept = [one for one in found["forecasts"] if not figures or one["figure"] in figures]
        return found | {"forecasts": kept}

    run_beside_installation(lambda: _show(ask, print_forecast, as_json=as_json), as_json=as_json)


def print_forecast(found: dict[str, Any]) -> None:
    """For people: what limits a forecast comes before its hours."""
    from services.cli.figures.tables import table

    print(*found["notes"], sep="\n", end="\n" if found["notes"] else "")
    for one in found["forecasts"]:
        print(f"{one['figure']} by {one['method']}" + _trust(one))
        print(*[f"  {note}" for note in one["notes"]], sep="\n", end="\n" if one["notes"] else "")
        rows = [
            {
                "hour (UTC)": each["hour"][:16].replace("T", " "),
                "expected": _short(each["median"]),
                "80 %": f"{_short(each['low_80'])} to {_short(each['high_80'])}",
                "95 %": f"{_short(each['low_95'])} to {_short(each['high_95'])}",
            }
            for each in one["expected"]
        ]
        print(*table(rows), "", sep="\n")


def print_anomalies(found: list[dict[str, Any]]) -> None:
    """For people, a line each and one of what made it."""
    for one in found:
        whose = one["tenant"] or one["model"] or "platform"
        span = f"{one['began_at'][:16].replace('T', ' ')} to {one['ended_at'][:16].replace('T', ' ')}"
        lasts = ", lasts" if one["lasts"] else ""
        print(
            f"{span}  {one['kind']} of {one['figure']} ({whose}): {_short(one['observed'])}, expected "
            f"{_short(one['expected'])} ({_short(one['low'])} to {_short(one['high'])}), score "
            f"{one['score']:.1f}{lasts}"
        )
        due = [f"{by['dimension']} {by['value']} ({by['share']:.0%})" for by in one["drivers"]]
        print(*([f"    due to {', '.join(due)}"] if due else []), sep="\n", end="\n" if due else "")
    if not found:
        print("none")


def print_capacity(found: dict[str, Any]) -> None:
    """For people."""
    from services.cli.figures.tables import table

    if found["refused"]:
        print(f"no advice: {found['refused']}")
        return
    rows = [
        {
            "option": one["name"],
            "replicas": _replicas(one["replicas"]),
            "slots": str(one["slots"]),
            "accelerators": str(one["accelerators"]),
            "p95 wait": "endless" if one["wait_p95_s"] is None else f"{one['wait_p95_s']:.2f} s",
            "hours missed": str(one["hours_missed"]),
            "cost": f"{one['cost_usd']} USD",
        }
        for one in found["options"]
    ]
    print(*table(rows), *found["notes"], sep="\n")


def _replicas(value: int | list[int]) -> str:
    return f"{min(value)} to {max(value)}" if isinstance(value, list) else str(value)


def _trust(one: dict[str, Any]) -> str:
    if one["relative_error"] is None:
        return ""
    covered = "" if one["coverage_80"] is None else f", {one['coverage_80']:.0%} within the 80 % interval"
    return f": error {one['relative_error']:.2f} of {one['baseline']}'s{covered}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _require_horizon(hours: int) -> None:
    if hours not in (24, 168):
        raise typer.BadParameter(f"{hours} must be 24 or 168", param_hint="--hours")


def _dollars(text: str) -> Any:
    from decimal import Decimal, InvalidOperation

    from services.common.errors import ConfigError

    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(-1)
    if not (value.is_finite() and 0 <= value <= 100_000):
        raise ConfigError(f"--replica-cost-usd is {text!r}; give dollars an hour, such as 2.50")
    return value


def _show(ask: Any, show: Any, *, as_json: bool) -> int:
    import asyncio
    import json

    from services.common.process.settings import CommonSettings
    from services.common.store import Store

    async def asking() -> Any:
        async with Store(CommonSettings.load().clickhouse_url, name="tocsin-cli", timeout_s=60.0) as store:
            return await ask(store)

    found = asyncio.run(asking())
    if as_json:
        print(json.dumps(found))
    else:
        show(found)
    return 0
