"""`tocsin query` and `tocsin trace`: saved queries, asked as the analyst."""

from typing import Annotated

import typer

from services.cli.beside import run_beside_installation


def add_to(app: typer.Typer) -> None:
    """Adds the commands to `tocsin`."""
    for command in (query, trace, dictionary):
        app.command()(command)


def query(
    name: Annotated[str, typer.Argument(help="A saved query, as usage/by_day; without it: the list.")] = "",
    *,
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE: from, to, tenant, limit ...")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, errors too.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
) -> None:
    """List saved queries, or ask one as the analyst: it reads only, for 30 seconds and
    10,000 rows at most. From and to are the last seven days unless given.
    """
    from services.cli.analytics.asking import ask

    form = "json" if as_json else "csv" if as_csv else "table"
    run_beside_installation(lambda: ask(name, param or [], form), as_json=as_json)


def trace(
    request_id: Annotated[str, typer.Argument(help="The x-request-id.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, errors too.")] = False,
) -> None:
    """Show everything that is stored of one request, in order of time."""
    from services.cli.analytics.asking import ask

    given, form = [f"request_id={request_id}"], "json" if as_json else "table"
    nothing = f"nothing is stored of a request {request_id!r}; its record comes a second or two after its end"
    run_beside_installation(lambda: ask("operations/request", given, form, nothing=nothing), as_json=as_json)


def dictionary() -> None:
    """Print the data dictionary: every table, view and column of the store."""
    from services.cli.analytics.asking import print_dictionary

    run_beside_installation(print_dictionary)
