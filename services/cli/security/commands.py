"""`tocsin security`: what was found, and what is to be expected."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from services.cli.beside import run_beside_installation

app = typer.Typer(help="Show what security analysis found, and what it expects.", no_args_is_help=True)

_Tenant = Annotated[str, typer.Option(help="Of this tenant only.")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON, errors too.")]


@app.command()
def findings(
    *,
    tenant: _Tenant = "",
    user: Annotated[str, typer.Option(help="Of this user only: a pseudonym, or with --tenant a name.")] = "",
    count: Annotated[int, typer.Option(min=1, max=1000, help="So many, the newest first.")] = 20,
    as_json: _Json = False,
) -> None:
    """Show the newest findings."""

    async def ask(store: Any) -> Any:
        from services.cli.control.control import pseudonym_key
        from services.common.clock import utc_now
        from services.console.security.findings import FindingQuery, Findings

        query = FindingQuery({"tenant": tenant} if tenant else {}, user, limit=count)
        return await Findings(store, utc_now, pseudonym_key()).page(query)

    run_beside_installation(lambda: _show(ask, _print_findings, as_json=as_json), as_json=as_json)


@app.command()
def forecast(
    *,
    tenant: _Tenant = "",
    hours: Annotated[int, typer.Option(min=1, max=168, help="So many hours from now on.")] = 24,
    as_json: _Json = False,
) -> None:
    """Show how many threats (medium and more) are expected each hour, and how well such
    forecasts did.
    """

    async def ask(store: Any) -> Any:
        from services.common.clock import utc_now
        from services.console.read_models.threats import Threats

        return await Threats(store).outlook(tenant, utc_now(), hours)

    run_beside_installation(lambda: _show(ask, _print_outlook, as_json=as_json), as_json=as_json)


@app.command()
def users(*, tenant: _Tenant = "", as_json: _Json = False) -> None:
    """Show which users are likely to have a critical finding within a day, and how good
    such chances were.
    """

    async def ask(store: Any) -> Any:
        from services.common.clock import utc_now
        from services.console.read_models.threats import Threats

        return await Threats(store).turning(tenant, utc_now())

    run_beside_installation(lambda: _show(ask, _print_turning, as_json=as_json), as_json=as_json)


@app.command()
def tune(
    tenant: Annotated[str, typer.Argument(help="Whose thresholds.")],
    *,
    level: Annotated[str, typer.Option(help="Whose threshold: medium, high or critical.")] = "high",
    target: Annotated[
        float, typer.Option(min=0.001, max=0.999, help="Largest share of false alarms.")
    ] = 0.05,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="How sure that shall be.")] = 0.95,
    days: Annotated[int, typer.Option(min=1, max=400, help="From so many days up to now.")] = 90,
    apply: Annotated[
        bool, typer.Option("--apply", help="Set what is proposed, as `tocsin thresholds set`.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Propose a threshold for a share of false alarms, from what people said of findings
    (POST /api/security/findings/{finding_id}/feedback).
    """
    from services.cli.security.tuning import LEVELS, run_tuning

    if level not in LEVELS:
        raise typer.BadParameter(f"{level!r} must be one of {', '.join(LEVELS)}", param_hint="--level")
    asked = (level, target, confidence, days)
    run_beside_installation(lambda: run_tuning(tenant, asked, apply=apply, as_json=as_json), as_json=as_json)


def _show(
    ask: Callable[[Any], Coroutine[Any, Any, Any]], show: Callable[[Any], None], *, as_json: bool
) -> int:
    import asyncio

    from pydantic import TypeAdapter

    from services.common.process.settings import CommonSettings

    found = asyncio.run(_ask(CommonSettings.load().clickhouse_url, ask))
    if as_json:
        print(TypeAdapter(Any).dump_json(found).decode())
    else:
        show(found)
    return 0


async def _ask(store_url: str, ask: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    from services.common.store import Store

    async with Store(store_url, name="tocsin-cli", timeout_s=60.0) as store:
        return await ask(store)


def _print_findings(found: dict[str, Any]) -> None:
    for one in found["data"]:
        when, whom = one["found_at"][:19].replace("T", " "), one["user"] or one["key_id"] or "-"
        judged = f"{one['level']:8} {one['score']:5.1f}  {one['category']:20}"
        print(f"{when}  {judged} {one['tenant']}/{whom}  {one['request_id']}")
        for why in one["explanation"]:
            print(f"    {why}")
    if not found["data"]:
        print("nothing was found")


def _print_outlook(found: Any) -> None:
    from datetime import UTC, datetime

    if not found.expected:
        print("there is no history yet: a forecast needs an hour with a threat")
        return
    print("hour (UTC)         expected   8 times of 10")
    for one in found.expected:
        hour = datetime.fromtimestamp(one.hour * 3600, UTC)
        print(f"{hour:%Y-%m-%d %H:00} {one.mean:10.1f}   {one.low} to {one.high}")
    if (held := found.backtest) is None:
        print(f"not held against anything yet: {found.hours} hours of history, 96 are needed")
        return
    print(
        f"over the last {held.days} days such forecasts were wrong by {held.error:.2f} an hour, the figure "
        f"of a {held.naive} before by {held.naive_error:.2f}; {held.covered:.0%} of hours came within the "
        "interval"
    )


def _print_turning(found: Any) -> None:
    if found.quality is None:
        print(
            f"too little is known: of {found.examples} examples {found.turned} were followed by a critical "
            "finding, and at least 20 are needed, spread over the time"
        )
        return
    for tenant, user, chance in found.users:
        print(f"{chance:6.1%}  {tenant}/{user}")
    print(
        f"Brier score {found.quality.brier:.4f} on {found.quality.examples} examples that were not learnt "
        f"from; always saying the share that turned has {found.quality.base_brier:.4f}"
    )
