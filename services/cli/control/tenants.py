"""`tocsin tenants`: whom keys belong to."""

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

app = typer.Typer(help="Make, show, change, suspend and delete tenants.", no_args_is_help=True)

_Share = Annotated[
    float | None, typer.Option(help="Its turn in the queue against other tenants'; 1 unless set.")
]
KIND = EntryKind(
    "tenant",
    "The tenant's id.",
    lambda one: {
        "tenant": one["tenant"],
        "name": one["name"],
        "share": f"{one['share']:g}",
        "limits": limits_text(one),
        "state": state_of(one),
    },
    "Remove a tenant that has nothing left, for good.",
    has_tenant=False,
)
add_shared_commands(app, KIND)
for_one(
    app,
    KIND,
    "suspend",
    "Refuse all its keys, on every gateway within a second.",
    lambda tenant, as_json: _suspend(tenant, suspended=True, as_json=as_json),
)
for_one(
    app,
    KIND,
    "resume",
    "Take a suspension back.",
    lambda tenant, as_json: _suspend(tenant, suspended=False, as_json=as_json),
)


@app.command()
def create(  # noqa: PLR0917 (typer turns them into options)
    tenant: Annotated[str, typer.Argument(help="Its id: lower-case letters, digits, dots, hyphens.")],
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    share: _Share = None,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    concurrent_streams: ConcurrentStreams = None,
    as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Make a tenant."""
    fields = _fields(name, share) | limits_of(requests_per_minute, tokens_per_minute, concurrent_streams)
    run_beside_installation(lambda: _create(tenant, fields, as_json=as_json), as_json=as_json)


@app.command("set")
def set_(  # noqa: PLR0917 (typer turns them into options)
    tenant: Annotated[str, typer.Argument(help="The tenant's id.")],
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    share: _Share = None,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    concurrent_streams: ConcurrentStreams = None,
    as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Change what is named of a tenant."""
    fields = _fields(name, share) | limits_of(requests_per_minute, tokens_per_minute, concurrent_streams)
    run_beside_installation(lambda: _edit(tenant, fields, "is changed", as_json=as_json), as_json=as_json)


def _fields(name: str | None, share: float | None) -> dict[str, Any]:
    return {key: value for key, value in (("name", name), ("share", share)) if value is not None}


def _create(tenant: str, fields: dict[str, Any], *, as_json: bool) -> int:
    from schemas.control import TenantChanged
    from services.cli.control.control import create_and_say

    return create_and_say(
        TenantChanged, fields | {"tenant": tenant}, f"tenant {tenant} is created", as_json=as_json
    )


def _edit(tenant: str, fields: dict[str, Any], said: str, *, as_json: bool) -> int:
    from services.cli.control.control import edit_and_say

    return edit_and_say("tenant", tenant, fields, f"{tenant} {said}", as_json=as_json)


def _suspend(tenant: str, *, suspended: bool, as_json: bool) -> int:
    from services.common.clock import utc_now

    fields = {"suspended_at": utc_now() if suspended else None}
    return _edit(tenant, fields, "is suspended" if suspended else "is open", as_json=as_json)
