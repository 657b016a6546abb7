"""`tocsin models`: what is changed of the models file's models while they run."""

from typing import Annotated

import typer

from services.cli.beside import run_beside_installation

app = typer.Typer(help="Switch models on and off.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="The model's name in the models file.")]


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Show what was changed; a model that is not listed is as the file has it."""
    run_beside_installation(lambda: _list(as_json=as_json))


@app.command()
def disable(model: _Name) -> None:
    """Refuse all requests for a model, on every gateway within a second."""
    run_beside_installation(lambda: _switch(model, enabled=False))


@app.command()
def enable(model: _Name) -> None:
    """Serve a model again."""
    run_beside_installation(lambda: _switch(model, enabled=True))


def _list(*, as_json: bool) -> int:
    from services.cli.control.control import entries, show_json

    found = entries("model")
    if as_json:
        show_json(found)
        return 0
    for one in found:
        print(f"{one['model']:<32} {'on' if one['enabled'] else 'off'}")
    return 0


def _switch(model: str, *, enabled: bool) -> int:
    from services.cli.control.control import change
    from services.common.control.changes import switch_model
    from services.common.process.settings import CommonSettings
    from services.common.requests.model_catalogue import load_models

    names = [one.name for one in load_models(CommonSettings.load().models_file)]
    change(switch_model(model, enabled=enabled, known=names))
    print(f"{model} is {'on' if enabled else 'off'}")
    return 0
