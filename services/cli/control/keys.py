"""`tocsin keys`: API keys."""

from datetime import timedelta
from typing import Annotated

import typer

from services.cli.beside import run_beside_installation
from services.cli.control.scopes import ScopeName, Scopes

app = typer.Typer(help="Make, list, change and revoke API keys.", no_args_is_help=True)


_Id = Annotated[str, typer.Argument(help="The eight characters after tsn_.")]
_Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command()
def create(  # noqa: PLR0917 (typer turns them into options)
    name: Annotated[str, typer.Option(help="What the key is for.")],
    tenant: Annotated[str, typer.Option(help="Whose it is; `tocsin tenants create` makes one.")] = "default",
    user: Annotated[str, typer.Option(help="The user whom its requests count for.")] = "",
    scope: Scopes = [ScopeName.INFER, ScopeName.FEEDBACK],  # noqa: B006 (typer copies it)
    model: Annotated[
        list[str], typer.Option(help="A model that it may use; repeatable; none means all.")
    ] = [],  # noqa: B006 (typer copies it)
    expires_in_days: Annotated[
        float | None, typer.Option(min=0, help="Days until it expires; none means never.")
    ] = None,
    as_json: _Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Make a key, and show it this once."""
    run_beside_installation(
        lambda: _create(
            name=name,
            tenant=tenant,
            user=user,
            scopes=scope,
            models=model,
            expires_in_days=expires_in_days,
            as_json=as_json,
        )
    )


@app.command("list")
def list_(as_json: _Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Show every key as it stands."""
    run_beside_installation(lambda: _list(as_json=as_json))


@app.command()
def scopes(key_id: _Id, scope: Scopes) -> None:
    """Change what a key may do, on every gateway within a second."""
    run_beside_installation(lambda: _set_scopes(key_id, scope))


@app.command()
def revoke(key_id: _Id) -> None:
    """End a key, on every gateway within a second."""
    run_beside_installation(lambda: _revoke(key_id))


@app.command()
def purge(key_id: _Id) -> None:
    """Remove a key's record for good; its requests stay in the store."""
    run_beside_installation(lambda: _purge(key_id))


def _create(
    *,
    name: str,
    tenant: str,
    user: str,
    scopes: list[str],
    models: list[str],
    expires_in_days: float | None,
    as_json: bool,
) -> int:
    from schemas.control import Scope
    from services.cli.control.control import change, show_json
    from services.common.clock import utc_now
    from services.common.control import changes
    from services.common.identity import create_key

    now = utc_now()
    clear, record = create_key(
        pepper=_pepper(),
        name=name,
        tenant=tenant,
        now=now,
        user=user,
        scopes=map(Scope, scopes),
        models=models,
        expires_at=now + timedelta(days=expires_in_days) if expires_in_days is not None else None,
    )
    written = change(changes.create(record), keys=True)
    assert written is not None  # noqa: S101  it was created
    if as_json:
        show_json({"key": clear, **changes.public_fields(written)})
    else:
        print(f"{clear}\n(shown this once; only its hash is kept)")
    return 0


def _list(*, as_json: bool) -> int:
    from services.cli.control.control import entries, last_uses, show_json

    uses = last_uses()
    found = [key | {"last_used_at": uses.get(key["key_id"])} for key in entries("key")]
    if as_json:
        show_json(found)
        return 0
    for key in found:
        state = (
            f"revoked {key['revoked_at']}" if key["revoked_at"] else f"expires {key['expires_at'] or 'never'}"
        )
        used = f"used {key['last_used_at']}" if key["last_used_at"] else "never used"
        scopes = ",".join(key["scopes"])
        print(f"{key['key_id']}  {key['tenant']:<16} {key['name']:<20} {scopes:<28} {state}  {used}")
    return 0


def _set_scopes(key_id: str, scopes: list[str]) -> int:
    from services.cli.control.control import change
    from services.common.control.changes import edit

    change(edit("key", key_id, {"scopes": scopes}), keys=True)
    print(f"{key_id} may now: {', '.join(scopes)}")
    return 0


def _revoke(key_id: str) -> int:
    from services.cli.control.control import change
    from services.common.control.changes import revoke_key

    change(revoke_key(key_id), keys=True)
    print(f"{key_id} is revoked")
    return 0


def _purge(key_id: str) -> int:
    from services.cli.control.control import change
    from services.common.control import changes

    change(changes.purge("key", key_id))
    print(f"{key_id} is gone")
    return 0


def _pepper() -> str:
    from services.cli.control.control import KeySettings

    return KeySettings.load().key_pepper.get_secret_value()
