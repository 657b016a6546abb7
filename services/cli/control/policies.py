"""`tocsin policies`: what is done about a tenant's prompts and answers."""

from typing import Annotated

import typer

from services.cli.beside import run_beside_installation
from services.cli.control.entries import DEFAULT, EntryKind, Fields, Json, add_shared_commands, state_of
from services.cli.figures.tables import words

app = typer.Typer(
    help="Set and show tenants' policies: what is done about their prompts. Effective at every gateway "
    "within a second; docs/security.md says what each field does.",
    no_args_is_help=True,
)


def _cells(policy: Fields) -> dict[str, str]:
    left_out = {"kind", "tenant", "version", "changed_at", "changed_by", "deleted_at"}
    fields = {name.replace("_", " "): words(value) for name, value in policy.items() if name not in left_out}
    return {"tenant": policy["tenant"], **fields, "state": state_of(policy)}


KIND = EntryKind(
    "policy",
    "The tenant; * is for all that have no policy of their own.",
    _cells,
    "Remove a policy for good; that of * holds instead, else the defaults.",
    called="the policy of ",
)
add_shared_commands(app, KIND)


def _milliseconds(given: str | None) -> str | None:
    try:
        float("0" if given in (None, DEFAULT) else given)
    except ValueError as error:
        raise typer.BadParameter(f"{given!r} must be a number, such as 10, or default") from error
    return given


def _days(given: list[str]) -> dict[str, int | None]:
    days: dict[str, int | None] = {}
    for one in given:
        table, _, count = one.partition("=")
        if not table or table in days or not (count == DEFAULT or (count.isascii() and count.isdecimal())):
            raise typer.BadParameter(
                f"{one!r} must be a table and days, each table once, such as findings=90"
            )
        days[table] = None if count == DEFAULT else int(count)
    return days


def _save(name: str, what: str) -> None:
    @app.command(name, help=what)
    def save(  # noqa: PLR0917 (typer turns them into options)
        tenant: Annotated[
            str, typer.Argument(help="The tenant; * is for all that have no policy of their own.")
        ],
        prompt_attacks: Annotated[str | None, typer.Option(help="off, observe, flag or block.")] = None,
        block_at: Annotated[
            str | None, typer.Option(help="From which risk on: low, medium, high or critical.")
        ] = None,
        secrets: Annotated[
            str | None, typer.Option(help="Secrets in prompts: allow, mask (hide from the model) or block.")
        ] = None,
        mask_prompt: Annotated[
            bool | None, typer.Option(help="Hide personal data from the model too.")
        ] = None,
        scan_output: Annotated[bool | None, typer.Option(help="Look at answers too.")] = None,
        output_leaks: Annotated[
            str | None,
            typer.Option(help="Secrets and the system prompt in answers: observe, mask or cut."),
        ] = None,
        output_personal: Annotated[
            str | None, typer.Option(help="Personal data of others in answers: observe, mask or cut.")
        ] = None,
        store_text: Annotated[str | None, typer.Option(help="masked, none or raw.")] = None,
        inspection_ms: Annotated[
            str | None,
            typer.Option(
                callback=_milliseconds,
                help="How long a suspicious prompt waits for the model's opinion; or default: as * has it, "
                "else the gateway's TOCSIN_INSPECT_BUDGET_MS.",
            ),
        ] = None,
        retention_days: Annotated[
            int | None,
            typer.Option(help="Days that texts are kept; 0 for as long as the tables keep their rows."),
        ] = None,
        retention: Annotated[
            list[str] | None,
            typer.Option(
                help="Days for one table, such as findings=90: requests, feedback, findings, breaches, "
                "alerts or dead_letters; repeated for several. findings=default: as --retention-days says."
            ),
        ] = None,
        as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
    ) -> None:
        given: Fields = {
            "prompt_attacks": prompt_attacks,
            "block_at": block_at,
            "secrets": secrets,
            "mask_prompt": mask_prompt,
            "scan_output": scan_output,
            "output_leaks": output_leaks,
            "output_personal": output_personal,
            "store_text": store_text,
        }
        fields = {"tenant": tenant} | {key: value for key, value in given.items() if value is not None}
        if retention_days is not None:
            fields["retention_days"] = retention_days or None
        if retention is not None:
            fields["retention_by_table"] = _days(retention)
        if inspection_ms is not None:
            fields["inspection_ms"] = None if inspection_ms == DEFAULT else inspection_ms
        run_beside_installation(lambda: _run(name, fields, as_json=as_json), as_json=as_json)


_save("create", "Make a tenant's policy.")
_save("set", "Make a policy, or change what is named of it.")


def _run(name: str, fields: Fields, *, as_json: bool) -> int:
    from schemas.control import PolicyChanged
    from services.cli.control.control import create_and_say, set_and_say

    said = f"the policy of {fields['tenant']} is set"
    if name == "create":
        return create_and_say(PolicyChanged, fields, said, as_json=as_json)
    return set_and_say(PolicyChanged, fields["tenant"], fields, said, as_json=as_json)
