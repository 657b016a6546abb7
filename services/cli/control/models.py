"""`tocsin models`: what is changed of the models file's models while they run."""

from typing import Annotated, Any

import typer

from services.cli.beside import run_beside_installation
from services.cli.control.entries import EntryKind, Fields, Json, add_shared_commands, for_one, state_of
from services.cli.control.limits import (
    ConcurrentStreams,
    RequestsPerMinute,
    TokensPerMinute,
    limits_of,
    limits_text,
)

app = typer.Typer(help="Switch models on and off, set their prices and limits.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(help="The model's name in the models file.")]
_Dollars = Annotated[
    str | None, typer.Option(help="US dollars; left out it is not known, which is not free.")
]
_CachedDollars = Annotated[
    str | None, typer.Option(help="US dollars; left out they cost as much as the others.")
]


def _cells(one: Fields) -> dict[str, str]:
    return {
        "model": one["model"],
        "state": "on" if one["enabled"] or one["deleted_at"] else "off",
        "price in force": _price_text(one),
        "limits": limits_text(one),
        "changes": state_of(one) if one["deleted_at"] else "",
    }


def _price_text(one: Fields) -> str:
    """The price in force and where it comes from, and whether others come."""
    price, source = one["price_in_force"], one["price_source"]
    figures = " ".join(
        f"{name.removesuffix('_usd').removesuffix('_per_million')} {value}"
        for name, value in price.items()
        if value is not None and (name != "per_request_usd" or float(value))
    )
    later = f", another from {one['next_price_from']}" if one["next_price_from"] else ""
    return f"{figures or 'no known price'} ({source}{later})"


def _with_prices(found: list[Fields]) -> list[Fields]:
    from services.cli.figures.prices import with_prices

    return with_prices(found)


def _of_the_file(model: str) -> Fields | None:
    from services.cli.figures.prices import of_the_file

    return of_the_file(model)


def _all(found: list[Fields]) -> list[Fields]:
    """Those of the models file first, changed or not."""
    listed = {one["model"]: one for one in found}
    unchanged = [one for name in _names() if name not in listed and (one := _of_the_file(name))]
    return _with_prices(unchanged + found)


KIND = EntryKind(
    "model",
    "The model's name in the models file.",
    _cells,
    "Remove what was changed of a model for good: it is as the file has it.",
    has_tenant=False,
    completed=_with_prices,
    unmade=_of_the_file,
    listed=_all,
)
add_shared_commands(app, KIND)
for_one(
    app,
    KIND,
    "disable",
    "Refuse all requests for a model, on every gateway within a second.",
    lambda model, as_json: _switch(model, enabled=False, as_json=as_json),
)
for_one(
    app,
    KIND,
    "enable",
    "Serve a model again.",
    lambda model, as_json: _switch(model, enabled=True, as_json=as_json),
)


def _save(name: str, what: str) -> None:
    @app.command(name, help=what)
    def save(
        model: _Name,
        requests_per_minute: RequestsPerMinute = None,
        tokens_per_minute: TokensPerMinute = None,
        concurrent_streams: ConcurrentStreams = None,
        as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
    ) -> None:
        fields = limits_of(requests_per_minute, tokens_per_minute, concurrent_streams)
        run_beside_installation(lambda: _run(name, model, fields, as_json=as_json), as_json=as_json)


_save("create", "Enter a model of the models file, to change something of it.")
_save("set", "Enter a model, or change what is named of it.")


@app.command()
def price(  # noqa: PLR0917 (typer turns them into options)
    model: _Name,
    valid_from: Annotated[str, typer.Option("--from", help="From this day (UTC) on, such as 2026-12-01.")],
    input_per_million_usd: _Dollars = None,
    cached_input_per_million_usd: _CachedDollars = None,
    output_per_million_usd: _Dollars = None,
    per_request_usd: Annotated[str, typer.Option(help="US dollars for each request.")] = "0",
    as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Add a price to a model's history; one from the same day takes its place."""
    fields: Fields = {
        "valid_from": valid_from,
        "input_per_million_usd": input_per_million_usd,
        "cached_input_per_million_usd": cached_input_per_million_usd,
        "output_per_million_usd": output_per_million_usd,
        "per_request_usd": per_request_usd,
    }
    run_beside_installation(lambda: _price(model, fields, as_json=as_json), as_json=as_json)


def _run(name: str, model: str, fields: Fields, *, as_json: bool) -> int:
    from schemas.control import ModelChanged
    from services.cli.control.control import create_and_say, set_and_say

    require_in_file(model)
    fields, said = fields | {"model": model}, f"{model} is set"
    if name == "create":
        return create_and_say(ModelChanged, fields, said, as_json=as_json)
    return set_and_say(ModelChanged, model, fields, said, as_json=as_json)


def _price(model: str, fields: Fields, *, as_json: bool) -> int:
    from services.cli.control.control import change_and_say
    from services.common.control.changes import add_price

    require_in_file(model)
    said = f"{model} has a price from {fields['valid_from']} on"
    return change_and_say(add_price(model, fields), said, as_json=as_json)


def _switch(model: str, *, enabled: bool, as_json: bool) -> int:
    from services.cli.control.control import change_and_say
    from services.common.control.changes import switch_model

    what = switch_model(model, enabled=enabled, known=_names())
    return change_and_say(what, f"{model} is {'on' if enabled else 'off'}", as_json=as_json)


def require_in_file(*models: str, aliases: bool = False) -> None:
    """Passes where the models file has them all, by any of their names with `aliases`.

    Raises:
        NoSuchEntryError: it lacks one.
    """
    from services.common.control.errors import NoSuchEntryError

    names = _names()
    known = {name for one in _file() for name in one.served_names} if aliases else set(names)
    for model in models:
        if model in known:
            continue
        raise NoSuchEntryError(f"there is no model {model!r}; the models file has {', '.join(names)}")


def _names() -> list[str]:
    return [one.name for one in _file()]


def _file() -> Any:
    from services.common.process.settings import CommonSettings
    from services.common.requests.model_catalogue import load_models

    return load_models(CommonSettings.load().models_file)
