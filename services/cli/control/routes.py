"""`tocsin routes`: names that clients ask for, and the models that serve them."""

from typing import Annotated

import typer

from services.cli.beside import run_beside_installation
from services.cli.control.entries import EntryKind, Fields, Json, add_shared_commands, state_of

app = typer.Typer(
    help="Set and show routes. They are kept, audited and known to every service; no gateway routes by them "
    "yet.",
    no_args_is_help=True,
)


def _cells(one: Fields) -> dict[str, str]:
    return {
        "route": f"{one['tenant']}/{one['route']}",
        "targets": ", ".join(f"{target['model']}={target['weight']:g}" for target in one["targets"]),
        "else": ", ".join(one["fallbacks"]),
        "state": state_of(one),
    }


KIND = EntryKind("route", "The name that clients ask for.", _cells, "Remove a route for good.", "*")
add_shared_commands(app, KIND)


def _save(name: str, what: str) -> None:
    @app.command(name, help=what)
    def save(  # noqa: PLR0917 (typer turns them into options)
        route: Annotated[str, typer.Argument(help="The name that clients ask for.")],
        tenant: Annotated[
            str, typer.Option(help="Whose route; * is for all that have none of this name.")
        ] = "*",
        target: Annotated[
            list[str] | None, typer.Option(help="A model that serves it, or MODEL=WEIGHT; repeatable.")
        ] = None,
        fallback: Annotated[
            list[str] | None, typer.Option(help="A model to try where no target can; repeatable, in order.")
        ] = None,
        cascade_below: Annotated[
            float | None, typer.Option(help="Mean log-probability below which the fallback answers.")
        ] = None,
        as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
    ) -> None:
        given: Fields = {
            "targets": [_target(one) for one in target or []] or None,
            "fallbacks": fallback or None,
            "cascade_below": cascade_below,
        }
        fields = {"tenant": tenant, "route": route}
        fields |= {key: value for key, value in given.items() if value is not None}
        run_beside_installation(lambda: _run(name, fields, as_json=as_json), as_json=as_json)


_save("create", "Make a route.")
_save("set", "Make a route, or change what is named of it.")


def _target(given: str) -> Fields:
    model, _, weight = given.partition("=")
    return {"model": model, "weight": weight or 1}


def _run(name: str, fields: Fields, *, as_json: bool) -> int:
    from schemas.control import RouteChanged
    from services.cli.control.control import create_and_say, set_and_say

    said = f"{fields['tenant']}/{fields['route']} is {'there' if name == 'create' else 'set'}"
    if name == "create":
        return create_and_say(RouteChanged, fields, said, as_json=as_json)
    route_id = f"{fields['tenant']}/{fields['route']}"
    return set_and_say(RouteChanged, route_id, fields, said, as_json=as_json)
