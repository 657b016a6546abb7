"""`tocsin policies`: what is done about a tenant's prompts and answers."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.beside import run_beside_installation

if TYPE_CHECKING:
    from services.common.control.changes import Change

app = typer.Typer(
    help="Set and show tenants' policies. They are kept, audited and known to every service; no service "
    "inspects prompts by them yet.",
    no_args_is_help=True,
)

_Tenant = Annotated[str, typer.Argument(help="The tenant; * is for all that have no policy of their own.")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command("set")
def set_(  # noqa: PLR0917 (typer turns them into options)
    tenant: _Tenant,
    prompt_attacks: Annotated[str | None, typer.Option(help="off, observe, flag or block.")] = None,
    block_at: Annotated[
        str | None, typer.Option(help="From which risk on: low, medium, high or critical.")
    ] = None,
    secrets: Annotated[str | None, typer.Option(help="allow, mask or block.")] = None,
    mask_prompt: Annotated[bool | None, typer.Option(help="Hide personal data from the model too.")] = None,
    scan_output: Annotated[bool | None, typer.Option(help="Look at answers too.")] = None,
    store_text: Annotated[str | None, typer.Option(help="masked, none or raw.")] = None,
    inspection_ms: Annotated[float | None, typer.Option(help="How long an inspection may take.")] = None,
    retention_days: Annotated[
        int | None, typer.Option(help="Days that rows are kept; 0 for as long as the tables keep them.")
    ] = None,
    as_json: _Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Make a policy, or change what is named of it."""
    fields = {
        "prompt_attacks": prompt_attacks,
        "block_at": block_at,
        "secrets": secrets,
        "mask_prompt": mask_prompt,
        "scan_output": scan_output,
        "store_text": store_text,
        "inspection_ms": inspection_ms,
        "retention_days": retention_days,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    run_beside_installation(lambda: _set(tenant, given, as_json=as_json))


@app.command("list")
def list_(as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Show every policy; a tenant without one has that of *, else the defaults."""
    run_beside_installation(lambda: _list(as_json=as_json))


@app.command()
def get(tenant: _Tenant, as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Show one policy, also a deleted one."""
    run_beside_installation(lambda: _get(tenant, as_json=as_json))


@app.command()
def delete(tenant: _Tenant, as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Delete a policy; that of * holds instead, else the defaults."""
    from services.common.control import changes

    what = changes.delete("policy", tenant)
    run_beside_installation(lambda: _change(what, f"the policy of {tenant} is deleted", as_json=as_json))


@app.command()
def restore(tenant: _Tenant, as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Take a deletion back."""
    from services.common.control import changes

    what = changes.restore("policy", tenant)
    run_beside_installation(lambda: _change(what, f"the policy of {tenant} is restored", as_json=as_json))


@app.command()
def purge(tenant: _Tenant, as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Remove a policy for good."""
    from services.common.control import changes

    what = changes.purge("policy", tenant)
    run_beside_installation(lambda: _change(what, f"the policy of {tenant} is gone", as_json=as_json))


def _set(tenant: str, fields: "dict[str, Any]", *, as_json: bool) -> int:
    from schemas.control import PolicyChanged
    from services.common.control.changes import amend

    if "retention_days" in fields:
        fields["retention_days"] = fields["retention_days"] or None
    what = amend(PolicyChanged(tenant=tenant), fields)
    return _change(what, f"the policy of {tenant} is set", as_json=as_json)


def _list(*, as_json: bool) -> int:
    from services.cli.control.control import entries, show_json

    found = entries("policy")
    if as_json:
        show_json(found)
        return 0
    for one in found:
        print(_line(one))
    return 0


def _get(tenant: str, *, as_json: bool) -> int:
    from services.cli.control.control import entry, show_json

    found = entry("policy", tenant)
    if as_json:
        show_json(found)
    else:
        print(_line(found))
    return 0


def _change(what: "Change", said: str, *, as_json: bool) -> int:
    from services.cli.control.control import change_and_say

    return change_and_say(what, said, as_json=as_json)


def _line(policy: "dict[str, Any]") -> str:
    left_out = {"kind", "tenant", "version", "changed_at", "changed_by", "deleted_at"}
    fields = " ".join(f"{name}={value}" for name, value in policy.items() if name not in left_out)
    deleted = f"deleted {policy['deleted_at']}  " if policy["deleted_at"] else ""
    return f"{policy['tenant']:<24} {deleted}{fields}"
