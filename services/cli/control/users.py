"""`tocsin users`: users of tenants. A key's user need not be entered; one who is can be
shut out.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.beside import run_beside_installation
from services.cli.control.scopes import ScopeName, Scopes

if TYPE_CHECKING:
    from services.common.control.changes import Change

app = typer.Typer(help="Make, show, suspend and delete users.", no_args_is_help=True)

_User = Annotated[str, typer.Argument(help="The user's name, as keys have it.")]
_Tenant = Annotated[str, typer.Option(help="Whose user it is.")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def create(
    user: _User,
    tenant: _Tenant = "default",
    name: Annotated[str, typer.Option(help="What people call them.")] = "",
    scope: Scopes = [ScopeName.INFER, ScopeName.FEEDBACK],  # noqa: B006 (typer copies it)
    as_json: _Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Enter a user."""
    run_beside_installation(lambda: _create(user, tenant, name, scope, as_json=as_json))


@app.command("list")
def list_(
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "",
    as_json: _Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Show every user who was entered."""
    run_beside_installation(lambda: _list(tenant, as_json=as_json))


@app.command()
def get(user: _User, tenant: _Tenant = "default", as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Show one user, also a deleted one."""
    run_beside_installation(lambda: _get(user, tenant, as_json=as_json))


@app.command()
def suspend(user: _User, tenant: _Tenant = "default", as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Refuse all keys of a user, on every gateway within a second."""
    run_beside_installation(lambda: _suspend(user, tenant, suspended=True, as_json=as_json))


@app.command()
def resume(user: _User, tenant: _Tenant = "default", as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Take a suspension back."""
    run_beside_installation(lambda: _suspend(user, tenant, suspended=False, as_json=as_json))


@app.command()
def delete(user: _User, tenant: _Tenant = "default", as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Delete a user; their keys are refused until they are restored."""
    from services.common.control import changes

    what = changes.delete("user", f"{tenant}/{user}")
    run_beside_installation(lambda: _change(what, f"{tenant}/{user} is deleted", as_json=as_json))


@app.command()
def restore(user: _User, tenant: _Tenant = "default", as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Take a deletion back."""
    from services.common.control import changes

    what = changes.restore("user", f"{tenant}/{user}")
    run_beside_installation(lambda: _change(what, f"{tenant}/{user} is restored", as_json=as_json))


@app.command()
def purge(user: _User, tenant: _Tenant = "default", as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Remove a user who has no keys or budgets, for good."""
    from services.common.control import changes

    what = changes.purge("user", f"{tenant}/{user}")
    run_beside_installation(lambda: _change(what, f"{tenant}/{user} is gone", as_json=as_json))


def _create(user: str, tenant: str, name: str, scopes: list[str], *, as_json: bool) -> int:
    from schemas.control import Scope, UserChanged
    from services.common.clock import utc_now
    from services.common.control import changes

    entry = UserChanged(
        tenant=tenant, user=user, name=name, scopes=tuple(map(Scope, scopes)), created_at=utc_now()
    )
    return _change(changes.create(entry), f"{tenant}/{user} is there", as_json=as_json)


def _list(tenant: str, *, as_json: bool) -> int:
    from services.cli.control.control import entries, show_json

    found = [one for one in entries("user") if tenant in ("", one["tenant"])]
    if as_json:
        show_json(found)
        return 0
    for one in found:
        print(_line(one))
    return 0


def _get(user: str, tenant: str, *, as_json: bool) -> int:
    from services.cli.control.control import entry, show_json

    found = entry("user", f"{tenant}/{user}")
    if as_json:
        show_json(found)
    else:
        print(_line(found))
    return 0


def _suspend(user: str, tenant: str, *, suspended: bool, as_json: bool) -> int:
    from services.common.clock import utc_now
    from services.common.control.changes import edit

    what = edit("user", f"{tenant}/{user}", {"suspended_at": utc_now() if suspended else None})
    said = "is suspended" if suspended else "is open"
    return _change(what, f"{tenant}/{user} {said}", as_json=as_json)


def _change(what: "Change", said: str, *, as_json: bool) -> int:
    from services.cli.control.control import change_and_say

    return change_and_say(what, said, as_json=as_json)


def _line(user: "dict[str, Any]") -> str:
    state = "open"
    if user["suspended_at"]:
        state = f"suspended {user['suspended_at']}"
    if user["deleted_at"]:
        state = f"deleted {user['deleted_at']}"
    where = f"{user['tenant']}/{user['user']}"
    return f"{where:<32} {state:<32} {','.join(user['scopes']):<20} {user['name']}".rstrip()
