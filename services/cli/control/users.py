"""`tocsin users`: users of tenants, whom keys belong to."""

from typing import Annotated, Any

import typer

from services.cli.beside import run_beside_installation
from services.cli.control.entries import EntryKind, Json, add_shared_commands, for_one, state_of
from services.cli.control.limits import (
    ConcurrentStreams,
    RequestsPerMinute,
    TokensPerMinute,
    limits_of,
    limits_text,
)
from services.cli.control.scopes import ScopeName, Scopes, ScopesOrNone

app = typer.Typer(help="Make, show, change, suspend and delete users.", no_args_is_help=True)

_User = Annotated[str, typer.Argument(help="The user's id, as keys have it.")]
_Tenant = Annotated[str, typer.Option(help="Whose user it is.")]


def _cells(user: dict[str, Any]) -> dict[str, str]:
    return {
        "user": f"{user['tenant']}/{user['user']}",
        "name": user["name"],
        "scopes": ",".join(user["scopes"]),
        "limits": limits_text(user),
        "state": state_of(user),
    }


KIND = EntryKind(
    "user", "The user's id.", _cells, "Remove a user who has no keys or budgets, for good.", "default"
)
add_shared_commands(app, KIND)
for_one(
    app,
    KIND,
    "suspend",
    "Refuse all keys of a user, on every gateway within a second.",
    lambda user, as_json: _suspend(user, suspended=True, as_json=as_json),
)
for_one(
    app,
    KIND,
    "resume",
    "Take a suspension back.",
    lambda user, as_json: _suspend(user, suspended=False, as_json=as_json),
)


@app.command()
def create(  # noqa: PLR0917 (typer turns them into options)
    user: _User,
    tenant: _Tenant = "default",
    name: Annotated[str, typer.Option(help="What people call them.")] = "",
    scope: Scopes = [ScopeName.INFER, ScopeName.FEEDBACK],  # noqa: B006 (typer copies it)
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    concurrent_streams: ConcurrentStreams = None,
    as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Enter a user. The scopes are what a token of an identity provider gives at most."""
    fields: dict[str, Any] = {"tenant": tenant, "user": user, "name": name, "scopes": scope}
    fields |= limits_of(requests_per_minute, tokens_per_minute, concurrent_streams)
    run_beside_installation(lambda: _create(fields, as_json=as_json), as_json=as_json)


@app.command("set")
def set_(  # noqa: PLR0917 (typer turns them into options)
    user: _User,
    tenant: _Tenant = "default",
    name: Annotated[str | None, typer.Option(help="What people call them.")] = None,
    scope: ScopesOrNone = None,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    concurrent_streams: ConcurrentStreams = None,
    as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Change what is named of a user."""
    named = (("name", name), ("scopes", scope or None))
    fields = {key: value for key, value in named if value is not None}
    fields |= limits_of(requests_per_minute, tokens_per_minute, concurrent_streams)
    run_beside_installation(
        lambda: _edit(f"{tenant}/{user}", fields, "is changed", as_json=as_json), as_json=as_json
    )


def _create(fields: dict[str, Any], *, as_json: bool) -> int:
    from schemas.control import UserChanged
    from services.cli.control.control import create_and_say

    return create_and_say(
        UserChanged, fields, f"user {fields['tenant']}/{fields['user']} is created", as_json=as_json
    )


def _edit(user: str, fields: dict[str, Any], said: str, *, as_json: bool) -> int:
    from services.cli.control.control import edit_and_say

    return edit_and_say("user", user, fields, f"{user} {said}", as_json=as_json)


def _suspend(user: str, *, suspended: bool, as_json: bool) -> int:
    from services.common.clock import utc_now

    fields = {"suspended_at": utc_now() if suspended else None}
    return _edit(user, fields, "is suspended" if suspended else "is open", as_json=as_json)
