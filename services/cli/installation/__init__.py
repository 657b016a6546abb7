"""Commands of an installation on this machine: up, down, status, demo."""

from typing import Annotated

import typer

from services.cli.beside import run_beside_installation


def add_to(app: typer.Typer) -> None:
    """Adds the commands to `tocsin`."""
    for command in (up, down, status, demo):
        app.command()(command)


def up(
    gateways: Annotated[
        int, typer.Option(min=1, max=32, help="How many gateways, on consecutive ports.")
    ] = 1,
    detach: Annotated[  # noqa: FBT002 (typer's way to a flag)
        bool, typer.Option("--detach", help="Start in the background and return once it is ready.")
    ] = False,
    quiet: Annotated[  # noqa: FBT002 (typer's way to a flag)
        bool, typer.Option("--quiet", help="Leave out the summary, which shows the first API key.")
    ] = False,
) -> None:
    """Start everything on this machine and keep it running.

    Data lies in .tocsin/ (or TOCSIN_HOME).
    """
    from services.embedded.installation import up as command

    raise typer.Exit(
        command.up_detached(gateways=gateways) if detach else command.up(gateways=gateways, quiet=quiet)
    )


def down() -> None:
    """Stop what `tocsin up` started here, and wait for its end."""
    from services.cli.installation.down import down as command

    raise typer.Exit(command())


def status(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """List each process: role, pid, port, state, restarts."""
    from services.cli.installation.process_status import status as command

    raise typer.Exit(command(as_json=as_json))


def demo() -> None:
    """Ask a running installation a few questions, and show what was recorded."""
    from services.cli.installation.demo import demo as command

    run_beside_installation(command)
