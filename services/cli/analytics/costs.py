"""`tocsin costs`: what requests cost, the same figures as GET /api/costs."""

from typing import Annotated, Any

import typer

from services.cli.beside import run_beside_installation
from services.cli.figures.tables import minute, table


def add_to(app: typer.Typer) -> None:
    """Adds the command to `tocsin`."""
    app.command()(costs)


def costs(
    *,
    begin: Annotated[str, typer.Option("--from", help="A day, or a time with its offset; else --days.")] = "",
    end: Annotated[str, typer.Option("--to", help="The same: the first that does not count; else now.")] = "",
    days: Annotated[int, typer.Option(min=1, max=400, help="So many days up to now, today being one.")] = 30,
    time_zone: Annotated[str, typer.Option(help="Whose days; a name such as Europe/Paris.")] = "UTC",
    group_by: Annotated[str, typer.Option(help="Any of tenant,user,model,key,day.")] = "model",
    tenant: Annotated[str, typer.Option(help="Of this tenant only.")] = "",
    user: Annotated[
        str, typer.Option(help="Of this user only: TENANT/USER, a pseudonym, or with --tenant the id.")
    ] = "",
    model: Annotated[str, typer.Option(help="Of this model only.")] = "",
    key: Annotated[str, typer.Option(help="Of this key only, by its id.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, errors too.")] = False,
) -> None:
    """Show what requests cost, of all tenants unless one is named."""
    from services.console.domain.cost_query import CostRequest

    asked = CostRequest(begin, end, days, time_zone, group_by)
    only = {"tenant": tenant, "user": user, "model": model, "key": key}
    run_beside_installation(lambda: _show(asked, only, as_json=as_json), as_json=as_json)


def _show(asked: Any, only: dict[str, str], *, as_json: bool) -> int:
    import asyncio
    import json

    from services.common.clock import utc_now
    from services.common.process.settings import CommonSettings

    asked.query(utc_now(), {})  # what makes no sense needs no bus
    names = _names()
    query = asked.query(utc_now(), names.looked_up(only))
    found = asyncio.run(_read(CommonSettings.load().clickhouse_url, query))
    names.require_known(only, found)
    found = names.named(found)
    if as_json:
        print(json.dumps(found))
        return 0
    print(f"{minute(found['since'])} to {minute(found['until'])}")
    by = found["group_by"]
    groups = [{name: _named(one, name) for name in by} | _figures(one) for one in found["groups"]]
    total = dict.fromkeys(by, "") | ({by[0]: "total"} if by else {"": "total"}) | _figures(found["total"])
    print(*table([*groups, total]), sep="\n")
    if found["has_more_groups"]:
        print("more groups than shown; the total has them all")
    return 0


def _names() -> Any:
    """Who is meant by pseudonyms and ids; nobody's name where there is no pseudonym key
    or no bus to tell.
    """
    from services.cli.control.control import pseudonym_key, read_state
    from services.common.control.state import ControlState
    from services.common.errors import BusUnavailableError
    from services.console.domain.cost_names import CostNames

    key = pseudonym_key()
    try:
        return CostNames(read_state(), key, shows_users=bool(key))
    except BusUnavailableError as error:
        typer.echo(f"Names are not known: {error}", err=True)
        return CostNames(ControlState(), key, shows_users=bool(key), is_read=False)


def _named(group: dict[str, Any], name: str) -> str:
    """A group's name, with the user or the key's name that it stands for."""
    shown = group[name] or "-"
    beside = group.get({"user": "user_id", "key": "key_name"}.get(name, ""))
    return f"{shown} ({beside})" if beside else shown


async def _read(store_url: str, query: Any) -> dict[str, Any]:
    from services.common.store import Store
    from services.console.read_models.costs import Costs

    async with Store(store_url, name="tocsin-cli", timeout_s=60.0) as store:
        return await Costs(store).read(query)


def _figures(figures: dict[str, Any]) -> dict[str, str]:
    names = ("cost_usd", "requests", "unpriced_requests", "prompt_tokens", "completion_tokens")
    heads = ("USD", "requests", "of unknown price", "prompt tokens", "answer tokens")
    return {head: str(figures[name]) for head, name in zip(heads, names, strict=True)}
