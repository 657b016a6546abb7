"""`tocsin`: the commands.

Each one's work is in a module of its own, imported only when it is called.
"""

import os
from collections.abc import Callable
from typing import Annotated

import typer

from schemas.control import Scope

app = typer.Typer(
    name="tocsin",
    help="Serve language models over a message bus, and watch what you serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")
dead_letters = typer.Typer(help="What consumers could not use.", no_args_is_help=True)
app.add_typer(dead_letters, name="dlq")


@app.command()
def up(
    gateways: Annotated[
        int, typer.Option(min=1, max=32, help="How many gateways, on consecutive ports.")
    ] = 1,
    detach: Annotated[  # noqa: FBT002 (typer's way to a flag)
        bool, typer.Option("--detach", help="Start in the background and return once it is ready.")
    ] = False,
) -> None:
    """Start everything on this machine and keep it running.

    Data lies in .tocsin/ (or TOCSIN_HOME).
    """
    from services.embedded import up as command

    raise typer.Exit(command.up_detached(gateways=gateways) if detach else command.up(gateways=gateways))


@app.command()
def down() -> None:
    """Stop what `tocsin up` started here, and wait for its end."""
    from services.cli.down import down as command

    raise typer.Exit(command())


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """List each process: role, pid, port, state, restarts."""
    from services.cli.status import status as command

    raise typer.Exit(command(as_json=as_json))


@app.command()
def demo() -> None:
    """Ask a running installation a few questions, and show what was recorded."""
    from services.cli.demo import demo as command

    _run(command)


@app.command()
def topics() -> None:
    """Create the bus's topics where they are missing, and mend the settings of those
    that differ.
    """
    from services.cli.commands import provision_topics

    _run(provision_topics)


@app.command()
def migrate() -> None:
    """Bring the store's tables and views up to date."""
    from services.cli.commands import migrate_store

    _run(migrate_store)


@app.command()
def doctor() -> None:
    """Check the bus, the store and the ledger, and say what to do."""
    from services.cli.commands import examine

    _run(examine)


@dead_letters.command("list")
def list_dead_letters() -> None:
    """Show what was set aside and not replayed."""
    from services.cli.commands import show_dead_letters

    _run(show_dead_letters)


@dead_letters.command()
def replay(limit: Annotated[int | None, typer.Option(min=1, help="At most so many a topic.")] = None) -> None:
    """Send what was set aside to where it came from."""
    from services.cli.commands import replay as command

    _run(lambda: command(limit))


@keys.command()
def create(  # noqa: PLR0917 (typer turns them into options)
    name: Annotated[str, typer.Option(help="What the key is for.")],
    tenant: Annotated[str, typer.Option(help="Whose it is.")] = "default",
    user: Annotated[str, typer.Option(help="The user whom its requests count for.")] = "",
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeatable.")] = [  # noqa: B006 (typer copies it)
        Scope.INFER,
        Scope.FEEDBACK,
    ],
    model: Annotated[
        list[str], typer.Option(help="A model that it may use; repeatable; none means all.")
    ] = [],  # noqa: B006 (typer copies it)  # noqa: B006
    expires_in_days: Annotated[
        float | None, typer.Option(min=0, help="Days until it expires; none means never.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Make a key, and show it this once."""
    from services.cli.commands import create_key

    _run(
        lambda: create_key(
            name=name,
            tenant=tenant,
            user=user,
            scopes=scope,
            models=model,
            expires_in_days=expires_in_days,
            as_json=as_json,
        )
    )


@keys.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Show every key as it stands."""
    from services.cli.commands import list_keys

    _run(lambda: list_keys(as_json=as_json))


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(help="The eight characters after tsn_.")]) -> None:
    """End a key, on every gateway within a second."""
    from services.cli.commands import revoke_key

    _run(lambda: revoke_key(key_id))


def _run(command: Callable[[], int]) -> None:
    """Runs a command beside the installation of this folder, if one runs; what is wrong
    is said in one line.
    """
    from services.common.errors import ConfigError, TocsinError
    from services.embedded.running_installation import environment_of_running_installation

    os.environ.update(environment_of_running_installation(os.environ))
    try:
        raise typer.Exit(command())
    except TocsinError as error:
        typer.echo(f"tocsin: {error}", err=True)
        raise typer.Exit(
            2 if isinstance(error, ConfigError) else 1
        ) from error  # 2: trying again would end the same way


def main() -> None:
    """The entry point."""
    app()


if __name__ == "__main__":
    main()
