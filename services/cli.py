"""`tocsin`: the commands. Each one's work is in a module of its own, imported only when it is called."""

from collections.abc import Callable
from typing import Annotated

import typer

app = typer.Typer(name="tocsin", help="Serve language models over a message bus, and watch what you serve.", no_args_is_help=True, add_completion=False)


@app.command()
def up(
    gateways: Annotated[int, typer.Option(min=1, max=32, help="How many gateways, on consecutive ports.")] = 1,
    detach: Annotated[bool, typer.Option("--detach", help="Start in the background and return once it is ready.")] = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Start everything on this machine and keep it running. Data lies in .tocsin/ (or TOCSIN_HOME)."""
    from services.embedded import up as command

    raise typer.Exit(command.up_detached(gateways=gateways) if detach else command.up(gateways=gateways))


@app.command()
def down() -> None:
    """Stop what `tocsin up` started here, and wait for its end."""
    from services.embedded.down import down as command

    raise typer.Exit(command())


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """List each process: role, pid, port, state, restarts."""
    from services.embedded.status import status as command

    raise typer.Exit(command(as_json=as_json))


@app.command()
def topics() -> None:
    """Create the bus's topics where they are missing, and mend the settings of those that differ."""
    from services.common.commands import provision_topics

    _run(provision_topics)


@app.command()
def migrate() -> None:
    """Bring the store's tables and views up to date."""
    from services.common.commands import migrate_store

    _run(migrate_store)


def _run(command: Callable[[], int]) -> None:
    """Runs a command; what is wrong is said in one line."""
    from services.common.errors import TocsinError

    try:
        raise typer.Exit(command())
    except TocsinError as error:
        typer.echo(f"tocsin: {error}", err=True)
        raise typer.Exit(2) from error


def main() -> None:
    """The entry point."""
    app()


if __name__ == "__main__":
    main()
