"""`tocsin tenants`: whom keys belong to."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.beside import run_beside_installation

if TYPE_CHECKING:
    from services.common.control.changes import Change

app = typer.Typer(help="Make, list, suspend and delete tenants.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(help="The tenant's id: lower-case letters, digits, dots, hyphens.")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def create(
    tenant: _Id,
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
) -> None:
    """Make a tenant. `default` is there without being made."""
    run_beside_installation(lambda: _create(tenant, name))


@app.command("list")
def list_(as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Show every tenant as it stands."""
    run_beside_installation(lambda: _list(as_json=as_json))


@app.command()
def suspend(tenant: _Id) -> None:
    """Refuse all keys of a tenant, on every gateway within a second."""
    run_beside_installation(lambda: _suspend(tenant, suspended=True))


@app.command()
def resume(tenant: _Id) -> None:
    """Take a suspension back."""
    run_beside_installation(lambda: _suspend(tenant, suspended=False))


@app.command()
def delete(tenant: _Id) -> None:
    """Delete a tenant; its keys are refused until it is restored."""
    from services.common.control import changes

    run_beside_installation(lambda: _say(tenant, changes.delete("tenant", tenant), "is deleted"))


@app.command()
def restore(tenant: _Id) -> None:
    """Take a deletion back."""
    from services.common.control import changes

    run_beside_installation(lambda: _say(tenant, changes.restore("tenant", tenant), "is restored"))


@app.command()
def purge(tenant: _Id) -> None:
    """Remove a tenant that has no keys, users or budgets, for good."""
    from services.common.control import changes

    run_beside_installation(lambda: _say(tenant, changes.purge("tenant", tenant), "is gone"))


def _create(tenant: str, name: str) -> int:
    from schemas.control import TenantChanged
    from services.common.clock import utc_now
    from services.common.control.changes import create as created

    return _say(tenant, created(TenantChanged(tenant=tenant, name=name, created_at=utc_now())), "is there")


def _list(*, as_json: bool) -> int:
    from services.cli.control.control import entries, show_json

    found = entries("tenant")
    if as_json:
        show_json(found)
        return 0
    for one in found:
        state = f"suspended {one['suspended_at']}" if one["suspended_at"] else "open"
        print(f"{one['tenant']:<24} {state:<32} {one['name']}")
    return 0


def _suspend(tenant: str, *, suspended: bool) -> int:
    from services.common.clock import utc_now
    from services.common.control.changes import edit

    fields = {"suspended_at": utc_now() if suspended else None}
    return _say(tenant, edit("tenant", tenant, fields), "is suspended" if suspended else "is open")


def _say(tenant: str, what: "Change", said: str) -> int:
    from services.cli.control.control import change

    change(what)
    print(f"{tenant} {said}")
    return 0
