"""`tocsin security`: what was found, and what is to be expected."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from services.cli.beside import run_beside_installation

app = typer.Typer(
    help="Show what security analysis found, judge it, and see what is expected (docs/security.md).",
    no_args_is_help=True,
)

_Tenant = Annotated[str, typer.Option(help="Of this tenant only.")]
_OF_AN_HOUR = ("requests", "blocked", "highest_score", "findings", "highest_level")
_Json = Annotated[bool, typer.Option("--json", help="As JSON, errors too.")]


@app.command()
def findings(
    *,
    tenant: _Tenant = "",
    user: Annotated[str, typer.Option(help="Of this user only: a pseudonym, or with --tenant a name.")] = "",
    level: Annotated[str, typer.Option(help="Of exactly this level: low, medium, high or critical.")] = "",
    category: Annotated[str, typer.Option(help="Of this kind only, such as jailbreak.")] = "",
    request_id: Annotated[str, typer.Option(help="Of this request only.")] = "",
    feedback: Annotated[
        str, typer.Option(help="Judged so only: none (by nobody), true_alarm or false_alarm.")
    ] = "",
    since: Annotated[str, typer.Option(help="A time with its offset.")] = "",
    until: Annotated[str, typer.Option(help="The same; it does not count itself.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many, the newest first.")] = 20,
    cursor: Annotated[str, typer.Option(help="Goes on after a page, which names it.")] = "",
    as_json: _Json = False,
) -> None:
    """Show the newest findings, each with why and its id, which `judge` takes."""
    given = {
        "tenant": tenant,
        "user": user,
        "level": level,
        "category": category,
        "request_id": request_id,
        "feedback": feedback,
        "since": since,
        "until": until,
        "limit": limit,
        "cursor": cursor,
    }
    asked = {name: value for name, value in given.items() if value}

    async def ask(store: Any) -> Any:
        from services.cli.security.investigation import query_of

        return await _findings(store).page(query_of(asked))

    run_beside_installation(
        lambda: _show(ask, _print_findings, as_json=as_json, tenant=tenant), as_json=as_json
    )


@app.command()
def timeline(
    user: Annotated[str, typer.Argument(help="A pseudonym, or with --tenant a name.")],
    *,
    tenant: _Tenant = "",
    days: Annotated[int, typer.Option(min=1, max=60, help="So many up to now.")] = 7,
    as_json: _Json = False,
) -> None:
    """Show what a user asked by the hour, and what was found of it."""

    async def ask(store: Any) -> Any:
        return await _findings(store).timeline(tenant, user, days)

    run_beside_installation(
        lambda: _show(ask, _print_timeline, as_json=as_json, tenant=tenant), as_json=as_json
    )


@app.command()
def judge(
    finding_id: Annotated[str, typer.Argument(help="The finding's id.")],
    verdict: Annotated[str, typer.Argument(help="true_alarm or false_alarm.")],
    *,
    as_json: _Json = False,
) -> None:
    """Say whether a finding was right: of several statements the last counts; `tune`
    derives thresholds from them.
    """
    from services.cli.security.investigation import VERDICTS, judge_finding

    if verdict not in VERDICTS:
        raise typer.BadParameter(f"{verdict!r} must be one of {', '.join(VERDICTS)}", param_hint="verdict")
    run_beside_installation(lambda: judge_finding(finding_id, verdict, as_json=as_json), as_json=as_json)


@app.command()
def forecast(
    *,
    tenant: _Tenant = "",
    hours: Annotated[int, typer.Option(min=24, max=168, help="24, or 168 (a week).")] = 24,
    as_json: _Json = False,
) -> None:
    """Show how many threats (medium and more) are expected each hour, and how well such
    forecasts did: `tocsin forecast` of the figure `threats`.
    """
    from services.cli.analytics.outlook import show_forecast

    show_forecast(("threats",), tenant, "", hours, as_json=as_json)


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
    (`judge`); the exit status is 1 where there is none to propose.
    """
    from services.cli.security.tuning import LEVELS, run_tuning

    if level not in LEVELS:
        raise typer.BadParameter(f"{level!r} must be one of {', '.join(LEVELS)}", param_hint="--level")
    asked = (level, target, confidence, days)
    run_beside_installation(lambda: run_tuning(tenant, asked, apply=apply, as_json=as_json), as_json=as_json)


def _show(
    ask: Callable[[Any], Coroutine[Any, Any, Any]],
    show: Callable[[Any], None],
    *,
    as_json: bool,
    tenant: str = "",
) -> int:
    """Asks and shows; where nothing is found of a `tenant` that there is not, that is
    an error.
    """
    import asyncio

    from pydantic import TypeAdapter

    from services.cli.control.control import require_tenant
    from services.common.process.settings import CommonSettings

    found = asyncio.run(_ask(CommonSettings.load().clickhouse_url, ask))
    if tenant and not any(found.get(name) for name in ("data", "hours")):
        require_tenant(tenant)
    if as_json:
        print(TypeAdapter(Any).dump_json(found).decode())
    else:
        show(found)
    return 0


async def _ask(store_url: str, ask: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    from services.common.store import Store

    async with Store(store_url, name="tocsin-cli", timeout_s=60.0) as store:
        return await ask(store)


def _findings(store: Any) -> Any:
    from services.cli.control.control import pseudonym_key
    from services.common.clock import utc_now
    from services.console.security.findings import Findings

    return Findings(store, utc_now, pseudonym_key())


def _print_timeline(found: dict[str, Any]) -> None:
    from services.cli.figures.tables import minute, table

    hours = [
        {"hour": minute(one["hour"]), **{name.replace("_", " "): str(one[name]) for name in _OF_AN_HOUR}}
        for one in found["hours"]
    ]
    print(f"{found['user']}, {minute(found['since'])} to {minute(found['until'])}")
    print(*table(hours), sep="\n", end="\n" if hours else "")
    _print_findings({"data": found["findings"], "next_cursor": None})
    if found["has_more_findings"]:
        print("more findings than shown: `tocsin security findings --user` has them all")


def _print_findings(found: dict[str, Any]) -> None:
    for one in found["data"]:
        when, whom = one["found_at"][:19].replace("T", " "), one["user"] or one["key_id"] or "-"
        judged = f"{one['level']:8} {one['score']:5.1f}  {one['category']:20}"
        print(f"{when}  {judged} {one['tenant']}/{whom}  {one['request_id']}")
        said = one["feedback"]
        print(f"    finding {one['finding_id']}" + (f": {said['verdict']}" if said else ""))
        for why in one["explanation"]:
            print(f"    {why}")
    if not found["data"]:
        print("nothing was found")
    if found["next_cursor"]:
        print(f"more: --cursor {found['next_cursor']}")


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
