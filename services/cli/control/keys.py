"""`tocsin keys`: API keys."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from services.cli.beside import run_beside_installation
from services.cli.control.entries import EntryKind, Fields, Json, add_shared_commands, for_one, state_of
from services.cli.control.limits import (
    ConcurrentStreams,
    RequestsPerMinute,
    TokensPerMinute,
    limits_of,
    limits_text,
)
from services.cli.control.models import require_in_file
from services.cli.control.scopes import ScopeName, Scopes, ScopesOrNone
from services.cli.figures.tables import minute

app = typer.Typer(help="Make, show, change, rotate and revoke API keys.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(help="The eight characters after tsn_.")]
_Days = Annotated[
    float | None,
    typer.Option(min=0, max=36_500, help="Days until it expires; left out, never."),
]
_Hours = Annotated[
    float,
    typer.Option(min=0, max=30 * 24, help="How long the present secret stays good."),
]


def _cells(key: Fields) -> dict[str, str]:
    return {
        "key": key["key_id"],
        "whose": f"{key['tenant']}/{key['user']}".rstrip("/"),
        "name": key["name"],
        "scopes": ",".join(key["scopes"]),
        "models": ",".join(key["models"]) or "all",
        "limits": limits_text(key),
        "state": _state(key),
        "last used": minute(key["last_used_at"]) or "never",
    }


def _state(key: Fields) -> str:
    """Open or not, until when, and whether a former secret is still good."""
    state = state_of(key)
    if state != "open":
        return state
    expires, former = key["expires_at"], key["previous_secret_until"]
    state = f"expires {minute(expires)}" if expires else state
    rotating = former is not None and datetime.fromisoformat(former) > datetime.now(UTC)
    return f"{state}, former secret until {minute(former)}" if rotating else state


KIND = EntryKind(
    "key",
    "The eight characters after tsn_.",
    _cells,
    "Remove a key's record for good; its requests stay in the store.",
)
add_shared_commands(app, KIND)
for_one(
    app,
    KIND,
    "revoke",
    "End a key for good, on every gateway within a second; `create` makes another.",
    lambda key_id, as_json: _revoke(key_id, as_json=as_json),
)


@app.command()
def create(  # noqa: PLR0917 (typer turns them into options)
    name: Annotated[str, typer.Option(help="What the key is for.")],
    tenant: Annotated[str, typer.Option(help="Whose it is; `tocsin tenants create` makes one.")] = "default",
    user: Annotated[str, typer.Option(help="The user whom its requests count for.")] = "",
    scope: Scopes = [ScopeName.INFER, ScopeName.FEEDBACK],  # noqa: B006 (typer copies it)
    model: Annotated[
        list[str], typer.Option(help="A model that it may use; repeatable; none means all.")
    ] = [],  # noqa: B006 (typer copies it)
    expires_in_days: _Days = None,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    concurrent_streams: ConcurrentStreams = None,
    as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Make a key, and show it this once."""
    fields: dict[str, Any] = {"name": name, "tenant": tenant, "user": user, "scopes": scope, "models": model}
    limits = limits_of(requests_per_minute, tokens_per_minute, concurrent_streams)
    run_beside_installation(
        lambda: _create(fields, limits, expires_in_days, as_json=as_json), as_json=as_json
    )


@app.command("set")
def set_(  # noqa: PLR0917 (typer turns them into options)
    key_id: _Id,
    name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    scope: ScopesOrNone = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model that it may use; repeatable; `all` alone means all.")
    ] = None,
    expires_in_days: _Days = None,
    requests_per_minute: RequestsPerMinute = None,
    tokens_per_minute: TokensPerMinute = None,
    concurrent_streams: ConcurrentStreams = None,
    as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Change what is named of a key, on every gateway within a second."""
    models = [] if model == ["all"] else model
    fields = {"name": name, "scopes": scope or None, "models": models if model else None}
    given = {key: value for key, value in fields.items() if value is not None}
    given |= limits_of(requests_per_minute, tokens_per_minute, concurrent_streams)
    run_beside_installation(lambda: _set(key_id, given, expires_in_days, as_json=as_json), as_json=as_json)


@app.command()
def scopes(key_id: _Id, scope: Scopes, as_json: Json = False) -> None:  # noqa: FBT002 (typer's way to a flag)
    """Change what a key may do, on every gateway within a second."""
    run_beside_installation(
        lambda: _edit(key_id, {"scopes": scope}, f"may now: {', '.join(scope)}", as_json=as_json),
        as_json=as_json,
    )


@app.command()
def rotate(
    key_id: _Id,
    overlap_hours: _Hours = 24,
    as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Give a key another secret, and show it this once; its id stays."""
    run_beside_installation(lambda: _rotate(key_id, overlap_hours, as_json=as_json), as_json=as_json)


def _create(
    fields: dict[str, Any], limits: dict[str, Any], expires_in_days: float | None, *, as_json: bool
) -> int:
    from schemas.control import KeyChanged
    from services.cli.control.control import change, new
    from services.common.clock import utc_now
    from services.common.control import changes
    from services.common.identity import create_key

    require_in_file(*fields["models"], aliases=True)
    now = utc_now()
    expires_at = now + timedelta(days=expires_in_days) if expires_in_days is not None else None
    clear, record = create_key(pepper=_pepper(), now=now, expires_at=expires_at, **fields)
    entry = new(KeyChanged, {**record.model_dump(warnings=False), **limits})
    return _show_secret(clear, change(changes.create(entry), keys=True), as_json=as_json)


def _set(key_id: str, fields: dict[str, Any], expires_in_days: float | None, *, as_json: bool) -> int:
    from services.common.clock import utc_now

    require_in_file(*fields.get("models", ()), aliases=True)
    if expires_in_days is not None:
        fields["expires_at"] = utc_now() + timedelta(days=expires_in_days)
    return _edit(key_id, fields, "is changed", as_json=as_json)


def _edit(key_id: str, fields: dict[str, Any], said: str, *, as_json: bool) -> int:
    from services.cli.control.control import edit_and_say

    return edit_and_say("key", key_id, fields, f"{key_id} {said}", as_json=as_json, keys=True)


def _rotate(key_id: str, overlap_hours: float, *, as_json: bool) -> int:
    from services.cli.control.control import change
    from services.common.control.changes import rotate_key
    from services.common.identity import create_secret

    clear, kept = create_secret(key_id, pepper=_pepper())
    written = change(rotate_key(key_id, kept, overlap_s=overlap_hours * 3600), keys=True)
    return _show_secret(clear, written, as_json=as_json)


def _revoke(key_id: str, *, as_json: bool) -> int:
    from services.cli.control.control import change_and_say
    from services.common.control.changes import revoke_key

    return change_and_say(revoke_key(key_id), f"{key_id} is revoked", as_json=as_json, keys=True)


def _show_secret(clear: str, written: Any, *, as_json: bool) -> int:
    from services.cli.control.control import show_json
    from services.common.control.changes import public_fields

    if as_json:
        show_json({"key": clear, **public_fields(written)})
    else:
        print(f"{clear}\n(shown this once; only its hash is kept)")
        key = public_fields(written)
        limits = f", {limits_text(key)}" if limits_text(key) else ""
        whose = f"{key['tenant']}/{key['user']}".rstrip("/")
        print(
            f"key {key['key_id']} of {whose}: {','.join(key['scopes'])}; "
            f"{','.join(key['models']) or 'all models'}{limits}; {_state(key)}"
        )
    return 0


def _pepper() -> str:
    from services.cli.control.control import KeySettings

    return KeySettings.load().key_pepper.get_secret_value()
