"""`tocsin recommendations`: what is recommended, why, and what is decided of it."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer

from services.cli.beside import run_beside_installation

app = typer.Typer(
    help="Show what is recommended, with its evidence, and decide on it "
    "(docs/concepts/analytics/recommendations.md).",
    no_args_is_help=True,
)

_Json = Annotated[bool, typer.Option("--json", help="As JSON, errors too.")]
_Fingerprint = Annotated[str, typer.Argument(help="The recommendation, as `list` names it.")]
_Reason = Annotated[str, typer.Option(help="Why.")]


@app.command("list")
def show_list(
    *,
    tenant: Annotated[str, typer.Option(help="Of this tenant only.")] = "",
    state: Annotated[
        str, typer.Option(help="open (new and accepted), new, accepted, dismissed, done, lapsed or all.")
    ] = "open",
    family: Annotated[str, typer.Option(help="security, performance, usage or cost.")] = "",
    severity: Annotated[str, typer.Option(help="info, warning or critical.")] = "",
    rule: Annotated[str, typer.Option(help="Of this rule only.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    as_json: _Json = False,
) -> None:
    """Show what is recommended, the most pressing first."""
    given = {
        "tenant": tenant,
        "state": "" if state == "all" else state,
        "family": family,
        "severity": severity,
        "rule": rule,
        "limit": limit,
    }

    async def ask(found: Any) -> Any:
        from services.cli.analytics.deciding import query_of

        return await found.page(query_of(given))

    run_beside_installation(lambda: _show(ask, _print_list, as_json=as_json), as_json=as_json)


@app.command()
def show(fingerprint: _Fingerprint, *, as_json: _Json = False) -> None:
    """Show one with the rows that it rests on, what was decided, and whether it helped."""

    async def ask(found: Any) -> Any:
        from services.cli.analytics.deciding import no_such

        known = await found.one("", fingerprint)
        if known is None:
            raise no_such(fingerprint)
        return await found.whole(known)

    run_beside_installation(lambda: _show(ask, _print_one, as_json=as_json), as_json=as_json)


@app.command()
def accept(fingerprint: _Fingerprint, *, reason: _Reason = "", as_json: _Json = False) -> None:
    """Accept one: from now on it is measured whether its figure falls."""
    _decide(fingerprint, "accept", reason, as_json=as_json)


@app.command()
def dismiss(fingerprint: _Fingerprint, *, reason: _Reason = "", as_json: _Json = False) -> None:
    """Dismiss one: it stays away unless it gets worse, or for ninety days."""
    _decide(fingerprint, "dismiss", reason, as_json=as_json)


@app.command()
def done(fingerprint: _Fingerprint, *, reason: _Reason = "", as_json: _Json = False) -> None:
    """Say that what one recommends is done: it comes back if it holds of the days after."""
    _decide(fingerprint, "done", reason, as_json=as_json)


def _decide(fingerprint: str, verb: str, reason: str, *, as_json: bool) -> None:
    def run() -> int:
        from services.cli.analytics.deciding import decide

        return decide(fingerprint, verb, reason, as_json=as_json)

    run_beside_installation(run, as_json=as_json)


def _show(
    ask: Callable[[Any], Coroutine[Any, Any, Any]], show: Callable[[Any], None], *, as_json: bool
) -> int:
    import asyncio
    import json

    from services.cli.analytics.deciding import asked

    found = asyncio.run(asked(ask))
    if as_json:
        print(json.dumps(found))
    else:
        show(found)
    return 0


def _print_list(found: dict[str, Any]) -> None:
    for one in found["data"]:
        _print_head(one)
    if not found["data"]:
        print("nothing is recommended")
    if found["next_offset"] is not None:
        print("there are more: raise --limit, or narrow with --family, --severity, --tenant")


def _print_head(one: dict[str, Any]) -> None:
    from services.cli.analytics.asking import text_of

    figures = f"{one['gain']:.4g} ({one['gain_low']:.4g} to {one['gain_high']:.4g}) {one['unit']}"
    print(
        f"{one['fingerprint']}  {one['severity']:8} {one['score']:5.1f}  {one['state']:9} "
        f"{text_of(one['title'])}"
    )
    print(f"    to gain: {figures}, {text_of(one['figure'])}; {one['confidence']:.1%} sure that there is any")


def _print_one(one: dict[str, Any]) -> None:
    from services.cli.analytics.asking import text_of
    from services.cli.figures.tables import table

    _print_head(one)
    print(text_of(one["why"]))
    for action in one["actions"]:
        print(f"    {text_of(action)}")
    print(f"interval: {one['statistic']}")
    print(f"evidence: {text_of(one['evidence']['command'])}")
    for row in one["evidence"]["rows"]:
        shown = [{"figure": name, "value": text_of(value)} for name, value in row.items()]
        print(*table(shown), sep="\n")
    _print_effect(one["effect"])
    for step in one["history"]:
        said = (
            f"{step['changed_at'][:19]}  {step['change']} by {step['changed_by_kind']} {step['changed_by']}"
        )
        print(text_of(f"{said}: {step['reason']}" if step["reason"] else said))


def _print_effect(effect: dict[str, Any] | None) -> None:
    if effect is None:
        return
    if effect.get("needed"):
        print(f"effect: {effect['verdict']}; {effect['needed']}")
        return
    print(
        f"effect: {effect['verdict']}; {effect['figure']} a day {effect['before']:.4g} before, "
        f"{effect['after']:.4g} after, {effect['change']:+.4g} ({effect['low']:+.4g} to "
        f"{effect['high']:+.4g})"
    )
