"""Commands that talk to a bus and a store, of this folder's installation if one runs."""

import os
from collections.abc import Callable

import typer


def run_beside_installation(command: Callable[[], int]) -> None:
    """Runs a command; what is wrong is said in one line.

    The exit status is the command's; 2 for a wrong setting, where trying again would
    end the same way, 1 for any other failure.
    """
    from services.common.errors import ConfigError, TocsinError
    from services.embedded.running_installation import environment_of_running_installation

    os.environ.update(environment_of_running_installation(os.environ))
    try:
        raise typer.Exit(command())
    except TocsinError as error:
        typer.echo(f"tocsin: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error
