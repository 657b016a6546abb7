"""`tocsin`: puts the command groups together.

Each one's work is imported only when it is called, so that `--help` answers at once.
"""

import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from services.cli import analytics, compliance, dead_letters, installation, operations, security
from services.cli.control import budgets, keys, models, policies, routes, tenants, thresholds, users

_ADMINISTRATION = "Administration"


class _Commands(TyperGroup):
    """All commands; a wrong value of an option is told in our words."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was asked for."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            _say_what_to_write(error)
            raise


def _say_what_to_write(error: typer.BadParameter) -> None:
    from pydantic import ValidationError

    from services.common.errors.value_rules import rule_of, shown

    if isinstance(error.__cause__, ValidationError):
        first = error.__cause__.errors(include_url=False)[0]
        error.message = f"{rule_of(first)}{shown(first)}."


app = typer.Typer(
    name="tocsin",
    cls=_Commands,
    help="Serve language models over a message bus, and watch what you serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:  # noqa: FBT001 (typer calls it so)
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tocsin {version('tocsin')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # noqa: FBT002 (its callback ends the command)
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


installation.add_to(app)
operations.add_to(app)
analytics.add_to(app)
app.add_typer(keys.app, name="keys", rich_help_panel=_ADMINISTRATION)
app.add_typer(tenants.app, name="tenants", rich_help_panel=_ADMINISTRATION)
app.add_typer(users.app, name="users", rich_help_panel=_ADMINISTRATION)
app.add_typer(budgets.app, name="budgets", rich_help_panel=_ADMINISTRATION)
app.add_typer(models.app, name="models", rich_help_panel=_ADMINISTRATION)
app.add_typer(thresholds.app, name="thresholds", rich_help_panel=_ADMINISTRATION)
app.add_typer(policies.app, name="policies", rich_help_panel=_ADMINISTRATION)
app.add_typer(routes.app, name="routes", rich_help_panel=_ADMINISTRATION)
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(compliance.audit_app, name="audit")
app.add_typer(security.app, name="security")
app.add_typer(compliance.privacy_app, name="privacy")


def main() -> None:
    """The entry point. A terminal that knows only ASCII is shown what it can show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()


if __name__ == "__main__":
    main()
