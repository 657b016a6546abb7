"""`tocsin privacy`: its options; the work is imported only when a command is called."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.beside import run_beside_installation

app = typer.Typer(
    help="What is known of a person: its erasure, receipts of that, its export (docs/concepts/erasure.md).",
    no_args_is_help=True,
)
_JSON = typer.Option("--json", help="As JSON, errors too.")
_TENANT = typer.Option(help="Whose user.")


@app.command()
def erase(
    user: Annotated[str, typer.Argument(help="The user's name, as their calls show it.")],
    *,
    tenant: Annotated[str, _TENANT] = "default",
    confirm: Annotated[
        str | None, typer.Option(help="The name once more, instead of being asked for it.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return once the first round is done.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Erase all that is known of a user, for good; prints the receipt's id and the proof
    whom it is about. A console does the work.
    """
    from services.cli.compliance.erasures import erase as work

    question = f"All of {user!r} of the tenant {tenant!r} is erased, with no way back. Type {user!r} again"
    again = confirm if confirm is not None else typer.prompt(question)
    run_beside_installation(
        lambda: work(user, tenant=tenant, confirm=str(again), wait=wait, as_json=as_json), as_json=as_json
    )


@app.command()
def receipt(
    receipt_id: Annotated[str, typer.Argument(help="The receipt's id.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The signed receipt, which verify takes.")] = False,
) -> None:
    """Show what an erasure did, place by place, and when the bus's last copy is gone."""
    from services.cli.compliance.erasures import show_receipt

    run_beside_installation(lambda: show_receipt(receipt_id, as_json=as_json), as_json=as_json)


@app.command("list")
def list_(
    *,
    tenant: Annotated[str, typer.Option(help="Of this tenant only.")] = "",
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """List erasures, the newest first."""
    from services.cli.compliance.erasures import list_receipts

    run_beside_installation(lambda: list_receipts(tenant, as_json=as_json), as_json=as_json)


@app.command()
def export(
    user: Annotated[str, typer.Argument(help="The user's name.")],
    *,
    out: Annotated[Path, typer.Option(help="A file that is not there yet; only its owner may read it.")],
    tenant: Annotated[str, _TENANT] = "default",
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Write all that is known of a user as JSON. It is audited before anything is read."""
    from services.cli.compliance.erasures import export as work

    run_beside_installation(lambda: work(user, tenant=tenant, out=out, as_json=as_json), as_json=as_json)


@app.command()
def key(*, as_json: Annotated[bool, _JSON] = False) -> None:
    """Show the public key of this installation's receipts: give it to who shall verify them."""
    from services.cli.compliance.erasures import show_key

    run_beside_installation(lambda: show_key(as_json=as_json), as_json=as_json)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A receipt, as `tocsin privacy receipt --json` prints it.")],
    *,
    public_key: Annotated[str, typer.Option("--key", help="The installation's, of `tocsin privacy key`.")],
    user: Annotated[str, typer.Option(help="Whom it must be about.")] = "",
    proof: Annotated[str, typer.Option(help="What who asked for the erasure was given.")] = "",
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Prove offline that a receipt is whole and the installation's own; with --user and
    --proof that it is about this person. Exits with 1 where it is not.
    """
    from services.cli.compliance.erasures import verify as work

    run_beside_installation(
        lambda: work(file, public_key, user=user, proof=proof, as_json=as_json), as_json=as_json
    )
