"""The commands' options; the work is imported only when one is called."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.beside import run_beside_installation

app = typer.Typer(
    help="Who did what, and the proof that it was not changed since (docs/concepts/audit.md).",
    no_args_is_help=True,
)
_JSON = typer.Option("--json", help="As JSON, errors too.")


@app.command()
def verify(
    *,
    anchors: Annotated[
        Path | None,
        typer.Option(
            help="Anchors that somebody kept elsewhere: JSON lines, of `tocsin audit anchors --json` or of "
            "the analyzer's log."
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Ask the store only: neither the bus's anchors nor the entries it still has."
        ),
    ] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Prove that no row was changed, taken away, moved or put in; else name the first
    that was, with the exit status 1.
    """
    from services.cli.compliance.verification import verify as work

    run_beside_installation(lambda: work(anchors, offline=offline, as_json=as_json), as_json=as_json)


@app.command()
def anchors(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON lines, which verify takes.")] = False,
) -> None:
    """Show the hashes that were published, to be kept elsewhere."""
    from services.cli.compliance.verification import show_anchors

    run_beside_installation(lambda: show_anchors(as_json=as_json), as_json=as_json)


@app.command("list")
def list_(
    *,
    tenant: Annotated[str, typer.Option(help="What was done to this tenant's.")] = "",
    action: Annotated[str, typer.Option(help="Such as key.created.")] = "",
    object_kind: Annotated[str, typer.Option(help="Such as key.")] = "",
    object_id: Annotated[str, typer.Option(help="The entry's id.")] = "",
    actor_id: Annotated[str, typer.Option(help="A key's id, a user's pseudonym, an operator's name.")] = "",
    since: Annotated[str, typer.Option(help="A time with its offset.")] = "",
    until: Annotated[str, typer.Option(help="The same; it does not count itself.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    cursor: Annotated[str, typer.Option(help="Goes on after a page, which names it.")] = "",
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Show who did what, the newest first."""
    from services.cli.compliance.listing import show

    given = {
        "tenant": tenant,
        "action": action,
        "object_kind": object_kind,
        "object_id": object_id,
        "actor_id": actor_id,
        "since": since,
        "until": until,
        "limit": limit,
        "cursor": cursor,
    }
    asked = {name: value for name, value in given.items() if value != ""}
    run_beside_installation(lambda: show(asked, as_json=as_json), as_json=as_json)


@app.command()
def export(
    *,
    out: Annotated[Path, typer.Option(help="A file that is not there yet; only its owner may read it.")],
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Write all rows as JSON lines, which docs/concepts/audit_verify.py reads. The export is
    itself audited, and is not made where that cannot be.
    """
    from services.cli.compliance.exports import export as work

    run_beside_installation(lambda: work(out, as_json=as_json), as_json=as_json)
