"""`tocsin thresholds`: from which score on a prompt is of which risk."""

from typing import Annotated

import typer

from services.cli.beside import run_beside_installation
from services.cli.control.entries import DEFAULT, EntryKind, Fields, Json, add_shared_commands, state_of

app = typer.Typer(
    help="Set and show from which score on a prompt is of which risk, and how many requests a user may send "
    "then.",
    no_args_is_help=True,
)


def _cells(one: Fields) -> dict[str, str]:
    named = one["scores_named"]
    levels = {name: f"{one[name]:g}" if named else "" for name in ("low", "medium", "high", "critical")}
    counts = ",".join(map(str, one["requests_per_hour"] or ()))
    return {"tenant": one["tenant"], **levels, "requests/hour": counts, "state": state_of(one)}


KIND = EntryKind(
    "thresholds",
    "The tenant; * is for all that have none of their own.",
    _cells,
    "Remove thresholds for good; those of * hold instead, else the defaults.",
    called="the entry of thresholds for ",
    noun="a tenant's thresholds",
)
add_shared_commands(app, KIND)


def _counts(given: str | None) -> str | None:
    parts = ("0,0,0" if given in (None, DEFAULT) else given).split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"{given!r} must be three numbers, such as 100,50,10, or default")
    return given


def _save(name: str, what: str) -> None:
    @app.command(name, help=what)
    def save(  # noqa: PLR0917 (typer turns them into options)
        tenant: Annotated[str, typer.Argument(help="The tenant; * is for all that have none of their own.")],
        low: Annotated[float | None, typer.Option(help="From this score on the risk is low.")] = None,
        medium: Annotated[float | None, typer.Option(help="And medium.")] = None,
        high: Annotated[float | None, typer.Option(help="And high.")] = None,
        critical: Annotated[float | None, typer.Option(help="And critical.")] = None,
        requests_per_hour: Annotated[
            str | None,
            typer.Option(
                callback=_counts,
                help="Of a user of no risk, after up to three findings, after more: 100,50,10; or default: "
                "as * has it, else users of no risk are not limited. Scores that are not named are those "
                "of *, else of TOCSIN_RISK_THRESHOLDS.",
            ),
        ] = None,
        as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
    ) -> None:
        given: Fields = {"low": low, "medium": medium, "high": high, "critical": critical}
        fields = {"tenant": tenant} | {key: value for key, value in given.items() if value is not None}
        if requests_per_hour is not None:
            fields["requests_per_hour"] = (
                None if requests_per_hour == DEFAULT else requests_per_hour.split(",")
            )
        run_beside_installation(lambda: _run(name, fields, as_json=as_json), as_json=as_json)


_save("create", "Make a tenant's thresholds.")
_save("set", "Make thresholds, or change what is named of them.")


def _run(name: str, fields: Fields, *, as_json: bool) -> int:
    from schemas.control import ThresholdsChanged
    from services.cli.control.control import create_and_say, set_and_say

    said = f"the thresholds of {fields['tenant']} are set"
    if name == "create":
        return create_and_say(ThresholdsChanged, fields, said, as_json=as_json)
    return set_and_say(ThresholdsChanged, fields["tenant"], fields, said, as_json=as_json)
